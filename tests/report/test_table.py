from tutelage.report import COLUMNS, build_results, rows, text_table


def test_rows_come_by_role_with_the_teacher_last(make_comparison):
    table = rows(build_results(make_comparison(seeds=3, steps=5)))
    assert [row[1] for row in table] == ["baseline", "method", "control", "control", "teacher"]
    assert all(len(row) == len(COLUMNS) for row in table)


def test_differences_are_signed_points_beside_interval_and_wins(make_arm):
    log = [make_arm("alone", seed, 0.8, "baseline") for seed in range(3)]
    log += [make_arm("kd", seed, 0.84 + 0.01 * (seed - 1)) for seed in range(3)]
    kd = dict(zip(COLUMNS, rows(build_results(log))[1], strict=True))
    # differences 0.03, 0.04, 0.05: half width 4.302653 * 0.01 / sqrt(3) = 0.0248414
    assert kd["accuracy"] == "84.0%"
    assert kd["delta"] == "+4.0"
    assert kd["95% CI"] == "+1.5 to +6.5"
    assert kd["wins"] == "3 of 3"


def test_a_lone_arm_has_no_difference(make_single_run):
    row = dict(zip(COLUMNS, rows(build_results(make_single_run(steps=5)))[0], strict=True))
    assert (row["delta"], row["95% CI"], row["wins"]) == ("-", "-", "-")


def test_the_text_is_aligned_and_clips_long_names(make_arm):
    text = text_table(build_results([make_arm("x" * 500, 0, 0.8)]))
    lines = text.splitlines()
    assert lines[0].startswith("arm ")
    assert lines[2].startswith("x" * 32 + "  method")
    assert max(map(len, lines)) < 160


def test_names_cannot_send_commands_to_a_terminal(make_arm):
    log = [make_arm("\x1b[2Jkd", seed, 0.9) for seed in range(2)]
    log += [make_arm("alone\u202e", seed, 0.8, "baseline") for seed in range(2)]
    log += [make_arm("\x1b]0;c", 5, 0.7, "control")]
    results = build_results(log)
    printed = "".join([text_table(results), results["verdict"]["sentence"], *results["notes"]])
    assert "\\u001b[2Jkd" in printed
    assert not set("\x1b\u202e") & set(printed)
