import json
import math

import pytest

from tutelage.errors import DataError
from tutelage.report import build_results


def test_the_summary_has_the_promised_form_and_is_plain_json(make_comparison):
    results = build_results(make_comparison(seeds=4, steps=10))
    assert {"metric", "selection", "teacher", "arms"} <= results.keys()
    assert results["metric"] == "accuracy"
    assert results["selection"] == "last"
    promised = ["name", "role", "seeds", "values", "mean", "sd", "delta"]
    promised += ["agreement", "ece", "params", "seconds"]
    for arm in results["arms"]:
        assert set(promised) <= arm.keys()
        assert all(0 <= value <= 1 for value in arm["values"])
    kd = next(arm for arm in results["arms"] if arm["name"] == "kd")
    assert {"mean", "ci95", "wins"} <= kd["delta"].keys()
    assert results["teacher"]["accuracy"] == {"train": 1.0, "validation": 0.985, "test": 0.982}
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_arms_come_by_role_then_by_mean_and_losers_stay(make_arm):
    log = [
        make_arm("noise", 0, 0.1, "control"),
        make_arm("worse", 0, 0.6),
        make_arm("better", 0, 0.9),
        make_arm("alone", 0, 0.7, "baseline"),
    ]
    names = [arm["name"] for arm in build_results(log)["arms"]]
    assert names == ["alone", "better", "worse", "noise"]


def test_differences_are_paired_by_seed_and_not_by_the_order_in_the_log(make_arm):
    log = [
        make_arm("alone", 0, 0.70, "baseline"),
        make_arm("alone", 1, 0.80, "baseline"),
        make_arm("kd", 1, 0.83),
        make_arm("kd", 0, 0.71),
    ]
    alone, kd = build_results(log)["arms"]
    assert alone["delta"] is None
    assert kd["seeds"] == [0, 1]
    assert kd["values"] == [0.71, 0.83]
    # differences 0.01 and 0.03: sd 0.0141421, t(0.975, 1) = 12.7062, half width 0.127062
    assert kd["delta"]["mean"] == pytest.approx(0.02)
    assert kd["delta"]["ci95"] == pytest.approx([0.02 - 0.127062, 0.02 + 0.127062], abs=1e-6)
    assert kd["delta"]["wins"] == 2


def test_seeds_missing_in_one_arm_are_dropped_from_its_pairs_and_stated(make_arm):
    log = [make_arm("alone", seed, 0.7, "baseline") for seed in (0, 1, 2)]
    log += [make_arm("kd", seed, 0.8) for seed in (1, 2, 5)]
    results = build_results(log)
    kd = results["arms"][1]
    assert kd["delta"]["seeds"] == [1, 2]
    assert kd["delta"]["n"] == 2
    assert kd["mean"] == pytest.approx(0.8)
    assert results["notes"] == ["kd and alone share 2 seeds; left out of their comparison: 0, 5."]


def test_arms_that_share_no_seed_have_no_difference(make_arm):
    log = [make_arm("alone", 0, 0.7, "baseline"), make_arm("kd", 1, 0.8)]
    results = build_results(log)
    assert results["arms"][1]["delta"] is None
    assert results["verdict"]["kind"] == "no-baseline"
    assert "it shares no seed with the student trained alone" in results["verdict"]["sentence"]


def test_the_selection_decides_which_value_counts_and_both_are_kept(make_arm):
    log = [make_arm("kd", seed, 0.8, kept="best") for seed in (0, 1)]
    results = build_results(log)
    arm = results["arms"][0]
    assert results["selection"] == "best"
    assert arm["mean"] == pytest.approx(0.81)
    assert arm["last"]["mean"] == pytest.approx(0.80)
    assert arm["best"]["epochs"] == [3, 3]


def test_arms_selected_in_different_ways_are_not_compared(make_arm):
    log = [make_arm("alone", 0, 0.7, "baseline"), make_arm("kd", 0, 0.8, kept="best")]
    with pytest.raises(
        DataError, match="found best, last; their values cannot be compared"
    ) as info:
        build_results(log)
    assert info.value.exit_code == 3


def test_a_failed_arm_has_no_say_in_the_selection(make_arm):
    failed = {"kind": "arm", "arm": "kd", "role": "method", "seed": 1, "error": "not finite"}
    results = build_results([make_arm("kd", 0, 0.8, kept="best"), failed])
    assert results["selection"] == "best"
    assert results["failed"] == [{"name": "kd", "seed": 1, "error": "not finite"}]


def test_failed_and_unfinished_arms_are_listed_and_left_out_of_means(make_arm):
    log = [
        make_arm("kd", 0, 0.8),
        make_arm("kd", 1, math.nan),
        make_arm("kd", 2, 0.9, error="loss is not finite at step 7"),
        {"kind": "step", "arm": "hint", "seed": 0, "step": 1, "loss": 1.0, "parts": {}},
        {"kind": "end", "status": "failed", "error": "disk full"},
    ]
    results = build_results(log)
    assert [arm["name"] for arm in results["arms"]] == ["kd"]
    assert results["arms"][0]["seeds"] == [0]
    failed = {(entry["name"], entry["seed"]): entry["error"] for entry in results["failed"]}
    assert failed == {
        ("kd", 1): "its record has no finite test accuracy for selection 'last'",
        ("kd", 2): "loss is not finite at step 7",
        ("hint", 0): "disk full",
    }
    assert "The run failed: disk full" in results["notes"]


def test_the_training_of_the_teacher_is_not_an_unfinished_arm(make_arm, make_teacher):
    log = [
        {"kind": "step", "arm": "teacher", "seed": None, "step": 1, "loss": 1.0, "parts": {}},
        make_teacher(),
        make_arm("kd", 0, 0.8),
    ]
    assert build_results(log)["failed"] == []


def test_a_resumed_run_counts_each_arm_and_seed_once(make_arm):
    log = [make_arm("kd", 0, 0.5), make_arm("kd", 0, 0.8)]
    assert build_results(log)["arms"][0]["values"] == [0.8]


def test_a_number_that_was_not_measured_is_none_and_not_zero(make_arm):
    record = make_arm("kd", 0, 0.8)
    record["last"]["test"]["agreement"] = None
    del record["last"]["test"]["ece"]
    arm = build_results([record])["arms"][0]
    assert arm["agreement"] is None
    assert arm["ece"] is None


def test_the_number_of_classes_is_read_from_the_run_or_from_the_teacher(make_run, make_teacher):
    assert build_results([make_run()])["num_classes"] == 10
    assert build_results([make_teacher(num_classes=7)])["num_classes"] == 7
    assert build_results([make_teacher()])["num_classes"] is None


def test_an_empty_log_is_a_result_without_arms():
    results = build_results([])
    assert results["arms"] == []
    assert results["teacher"] is None
    assert results["verdict"]["kind"] == "no-result"
