import pytest

from tutelage.report import build_results
from tutelage.report.verdict import chance_bound

WOBBLE = [0.004, -0.004, 0.002, -0.002, 0.0]


@pytest.fixture
def log(make_arm):
    """Build a log of five paired seeds; each arm is its mean plus a wobble of its own."""

    def build(seeds=5, **arms):
        records = []
        for shift, (name, (role, mean)) in enumerate(arms.items()):
            for seed in range(seeds):
                wobble = WOBBLE[(seed + shift) % 5]
                records.append(make_arm(name, seed, mean + wobble, role))
        return records

    return build


def verdict(records):
    return build_results(records)["verdict"]


ALONE = ("baseline", 0.873)


def test_helped_names_the_gain_its_interval_the_seeds_and_both_controls(log):
    found = verdict(
        log(
            alone=ALONE,
            kd=("method", 0.913),
            smoothing=("control", 0.874),
            shuffled=("control", 0.12),
        )
    )
    assert found["kind"] == "helped"
    assert found["sentence"] == (
        "Distillation helped: kd beats the student alone by +4.0 points "
        "(95% CI +3.3 to +4.7, 5 of 5 seeds) and both controls."
    )


@pytest.mark.parametrize(
    ("controls", "words"),
    [
        (0, "no control was trained, so a mere regularising effect is not ruled out."),
        (1, "5 of 5 seeds) and the control c0."),
        (3, "5 of 5 seeds) and all 3 controls."),
    ],
)
def test_the_controls_are_counted(log, controls, words):
    arms = {f"c{i}": ("control", 0.8) for i in range(controls)}
    found = verdict(log(alone=ALONE, kd=("method", 0.913), **arms))
    assert found["kind"] == "helped"
    assert found["sentence"].endswith(words)


def test_no_evidence_when_the_interval_includes_zero(log):
    found = verdict(log(alone=ALONE, kd=("method", 0.874), smoothing=("control", 0.87)))
    assert found["kind"] == "no-evidence"
    assert found["sentence"].startswith("No evidence that distillation helped: kd differs from")
    assert found["sentence"].endswith("and that interval includes zero.")


def test_hurt_when_the_interval_lies_below_zero(log):
    found = verdict(log(alone=ALONE, kd=("method", 0.84)))
    assert found["kind"] == "hurt"
    assert (
        "Distillation hurt: kd differs from the student alone by -3.3 points" in found["sentence"]
    )
    assert "0 of 5 seeds" in found["sentence"]


def test_a_gain_that_a_control_shows_too_may_not_come_from_the_teacher(log):
    found = verdict(
        log(
            alone=ALONE,
            kd=("method", 0.913),
            smoothing=("control", 0.912),
            shuffled=("control", 0.1),
        )
    )
    assert found["kind"] == "unattributed"
    assert found["sentence"].startswith("The gain may not come from the teacher: kd beats")
    assert "against the control smoothing the difference is +0.1 points" in found["sentence"]
    assert "shuffled" not in found["sentence"]


def test_a_control_without_a_shared_seed_is_not_beaten(log, make_arm):
    records = log(alone=ALONE, kd=("method", 0.913))
    found = verdict([*records, make_arm("smoothing", 99, 0.5, "control")])
    assert found["kind"] == "unattributed"
    assert "it shares no seed with the control smoothing" in found["sentence"]


def test_without_a_baseline_the_gain_is_unknown(log):
    found = verdict(log(seeds=1, kd=("method", 0.913)))
    assert found["kind"] == "no-baseline"
    assert (
        "(1 seed); without the same student trained alone the gain is unknown" in found["sentence"]
    )
    assert "run `tutelage compare`" in found["sentence"]


def test_one_seed_proves_nothing(log):
    found = verdict(log(seeds=1, alone=ALONE, kd=("method", 0.95)))
    assert found["kind"] == "single-seed"
    assert found["sentence"].startswith("One seed proves nothing: kd differs")
    assert "on seed 0" in found["sentence"]
    assert "run at least 5 seeds" in found["sentence"]


def test_a_teacher_below_the_student_alone_is_mentioned(log, make_teacher):
    records = log(alone=ALONE, kd=("method", 0.84))
    found = verdict([*records, make_teacher(0.80)])
    assert found["kind"] == "hurt"
    assert found["sentence"].endswith(
        "; the teacher (80.0%) is itself below the student alone (87.3%)."
    )
    assert "teacher" not in verdict([*records, make_teacher(0.98)])["sentence"]


def test_a_teacher_near_chance_overrules_every_gain(log, make_teacher, make_run):
    records = [make_run(), *log(alone=ALONE, kd=("method", 0.913)), make_teacher(0.11)]
    found = verdict(records)
    assert found["kind"] == "chance-teacher"
    assert "near chance (11.0% on the test set, where guessing among 10" in found["sentence"]
    assert "no gain can come from it" in found["sentence"]
    single = verdict([make_run(), *log(seeds=1, kd=("method", 0.9)), make_teacher(0.11)])
    assert "near chance" in single["sentence"]


@pytest.mark.parametrize(
    ("classes", "bound"), [(2, 0.525), (10, 0.145), (100, 0.02), (1000, 0.002)]
)
def test_the_bound_of_chance(classes, bound):
    assert chance_bound(classes) == pytest.approx(bound)


def test_of_several_methods_the_best_is_named_with_their_number(log):
    found = verdict(
        log(alone=ALONE, hint=("method", 0.90), kd=("method", 0.93), at=("method", 0.80))
    )
    assert found["kind"] == "helped"
    assert "kd (best of 3 methods) beats the student alone" in found["sentence"]


def test_a_proven_gain_counts_before_a_larger_doubtful_one(make_arm):
    wild = [0.30, -0.20, 0.25, -0.15, 0.28]
    records = []
    for seed in range(5):
        records += [
            make_arm("alone", seed, 0.6, "baseline"),
            make_arm("steady", seed, 0.62 + 0.001 * seed),
            make_arm("wild", seed, 0.6 + wild[seed]),
        ]
    found = verdict(records)
    assert found["kind"] == "helped"
    assert "steady (best of 2 methods)" in found["sentence"]


def test_equal_arms_are_ties_and_no_evidence(make_arm):
    records = [
        make_arm(name, seed, 0.8, role)
        for name, role in (("alone", "baseline"), ("kd", "method"))
        for seed in range(3)
    ]
    found = verdict(records)
    assert found["kind"] == "no-evidence"
    assert "+0.0 points (95% CI +0.0 to +0.0, 0 of 3 seeds, 3 ties)" in found["sentence"]


def test_controls_alone_are_not_a_distillation(log):
    found = verdict(log(alone=ALONE, smoothing=("control", 0.9)))
    assert found["kind"] == "no-method"
    assert "Nothing was distilled" in found["sentence"]


def test_no_finished_arm_is_no_result():
    assert verdict([{"kind": "end", "status": "failed", "error": "x"}])["kind"] == "no-result"
