import math
import statistics

import pytest

from tutelage.report.curves import BUDGET, MAX_POINTS, panels, thin
from tutelage.report.readings import sort_records


def step(arm, seed, number, loss, **parts):
    return {"kind": "step", "arm": arm, "seed": seed, "step": number, "loss": loss, "parts": parts}


def by_title(records):
    return {panel.title: panel for panel in panels(sort_records(records))}


def test_thinning_averages_equal_runs_and_keeps_the_overall_mean():
    series = {i: math.sin(i) for i in range(1, 1001)}
    x, y = thin(series, 100)
    assert len(x) == len(y) == 100
    assert x[-1] == 1000
    assert statistics.fmean(y) == pytest.approx(statistics.fmean(series.values()))
    assert y[0] == pytest.approx(statistics.fmean(math.sin(i) for i in range(1, 11)))


def test_a_short_series_is_left_as_it_is():
    assert thin({3: 1.0, 1: 2.0}, 500) == ([1, 3], [2.0, 1.0])


def test_a_value_that_is_not_finite_is_a_gap_and_is_not_averaged_away():
    panel = by_title([step("kd", 0, i, math.nan if i == 2 else 1.0) for i in (1, 2, 3)])
    assert panel["loss (weighted sum)"].curves[0].y == [1.0, None, 1.0]


def test_the_mean_is_taken_over_the_seeds_that_logged_a_step():
    records = [step("kd", 0, 1, 2.0), step("kd", 1, 1, 4.0), step("kd", 0, 2, 1.0)]
    mean, *singles = by_title(records)["loss (weighted sum)"].curves
    assert (mean.seed, mean.x, mean.y) == (None, [1, 2], [3.0, 1.0])
    assert [curve.seed for curve in singles] == [0, 1]


def test_each_part_of_the_loss_is_a_chart_of_the_arms_that_have_it():
    found = by_title([step("alone", 0, 1, 1.0, ce=1.0), step("kd", 0, 1, 2.0, ce=1.5, kd=0.5)])
    assert list(found) == ["loss (weighted sum)", "part: ce", "part: kd"]
    assert [curve.arm for curve in found["part: ce"].curves] == ["alone", "kd"]
    assert [curve.arm for curve in found["part: kd"].curves] == ["kd"]


def test_long_logs_stay_within_the_budget(make_comparison):
    drawn = panels(sort_records(make_comparison(seeds=10, steps=700)))
    lengths = [len(curve.x) for panel in drawn for curve in panel.curves]
    assert max(lengths) <= MAX_POINTS
    assert sum(lengths) <= BUDGET


def test_with_very_many_curves_single_seeds_are_left_out_before_curves_get_crude():
    records = [
        step(f"arm{a}", seed, i, 1.0 + i, ce=1.0)
        for a in range(8)
        for seed in range(110)
        for i in range(3)
    ]
    curves = [curve for panel in panels(sort_records(records)) for curve in panel.curves]
    assert len(curves) == 16
    assert all(curve.seed is None for curve in curves)


def test_the_teachers_own_training_is_no_arm():
    assert panels(sort_records([step("teacher", None, 1, 1.0)])) == []
