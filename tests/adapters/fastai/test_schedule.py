import math
import pickle

import pytest

pytest.importorskip("fastai", reason="fastai is not installed")

from fastai.callback.schedule import sched_cos, sched_lin

import tutelage as tl
from tutelage.adapters import fastai as names
from tutelage.adapters.fastai import KnowledgeDistillationCallback, Schedule, SoftTarget
from tutelage.adapters.fastai.schedule import Moment
from tutelage.errors import InputError

# fasterai 0.4.1: each preset's function of the position, and where it starts.
FORMULAS = {
    "one_shot": (lambda p: 1.0, 0.5),
    "iterative": (lambda p: math.ceil(p * 3) / 3, 0.2),
    "agp": (lambda p: 1 - (1 - p) ** 3, 0.2),
    "one_cycle": (lambda p: (1 + math.exp(-8)) / (1 + math.exp(-14 * p + 6)), 0.0),
    "cos": (lambda p: (1 - math.cos(math.pi * p)) / 2, 0.0),
    "lin": (lambda p: p, 0.0),
    "dsd": (lambda p: (1 + math.cos(math.pi * (1 - 2 * p))) / 2, 0.0),
}


def test_all_seven_are_there() -> None:
    assert names.available_schedules() == list(FORMULAS)


@pytest.mark.parametrize("name", FORMULAS)
def test_values_are_those_of_fasterai(name: str) -> None:
    formula, start = FORMULAS[name]
    preset = getattr(names, name)
    for point in range(101):
        pct = point / 100
        expected = 0.0 if pct < start else formula((pct - start) / (1 - start))
        assert preset.progress(pct) == pytest.approx(expected, abs=1e-9), pct
    low, high = preset.bounds
    assert -1e-9 <= low < 0.003
    assert high == pytest.approx(1.0)


def test_a_span_within_the_training_ends_where_it_says() -> None:
    schedule = Schedule(sched_lin, start_pct=0.2, end_pct=0.6, start_val=8.0, end_val=2.0)
    assert [schedule.progress(pct) for pct in (0.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx(
        [8.0, 8.0, 5.0, 2.0, 2.0]
    )


def test_presets_cannot_be_changed_by_anyone_who_shares_them() -> None:
    with pytest.raises(AttributeError):
        names.agp.start_pct = 0.9
    assert names.agp.progress(0.9) == names.agp.progress(0.9)
    assert pickle.loads(pickle.dumps(names.agp)) == names.agp


@pytest.mark.parametrize(("start", "end"), [(0.5, 0.5), (-0.1, 1.0), (0.0, 100)])
def test_fractions_that_do_not_rise_within_one_are_refused(start, end) -> None:
    with pytest.raises(InputError, match="expected 0 <= start_pct < end_pct <= 1"):
        Schedule(sched_lin, start, end)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(InputError, match=r"Schedule.end_val: expected a finite number"):
        Schedule(sched_lin, end_val=math.nan)


def test_plot_draws_the_value_times_the_weight() -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    axes = names.lin.plot(target=0.5, num_points=3)
    (line,) = axes.lines
    assert line.get_xdata().tolist() == [0.0, 0.5, 1.0]
    assert line.get_ydata().tolist() == [0.0, 0.25, 0.5]
    assert names.cos.plot(ax=axes) is axes
    pyplot.close("all")


def test_outside_the_callback_the_length_of_training_is_not_known() -> None:
    assert names.lin(0) == 0.0
    assert names.lin(Moment(7, 0.25)) == 0.25
    with pytest.raises(InputError, match=r"use one of tutelage\.schedules, over steps"):
        names.lin(7)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (Schedule(sched_cos, start_val=8.0, end_val=2.0), [8.0, 5.0]),
        (tl.Linear(8.0, 2.0, steps=2), [8.0, 5.0]),
    ],
)
def test_temperature_follows_a_schedule_of_either_kind(
    learner, teacher, temperature, expected
) -> None:
    seen = []
    loss = SoftTarget(T=temperature)
    kd = KnowledgeDistillationCallback(teacher, loss, weight=0.5, metrics=False)
    values = loss.values
    loss.values = lambda *a: seen.append(float(loss.temperature)) or values(*a)
    learner(kd).fit(1)
    assert seen[-2:] == pytest.approx(expected)


@pytest.mark.parametrize(
    "options",
    [
        {"weight": 0.8, "schedule": names.lin},
        {"weight": Schedule(sched_lin, end_val=0.8)},
        {"weight": 0.8, "schedule": tl.Linear(0.0, 1.0, steps=4)},
        {"weight": tl.Linear(0.0, 0.8, steps=4)},
    ],
)
def test_weight_follows_a_schedule_of_either_kind(learner, teacher, options) -> None:
    from fastai.callback.core import Callback

    kd = KnowledgeDistillationCallback(teacher, SoftTarget, **options)
    seen = []
    watch = Callback(after_batch=lambda self: seen.append(kd.current_weight))
    learner(kd, watch).fit(2)
    assert seen[:2] + seen[4:6] == pytest.approx([0.0, 0.2, 0.4, 0.6])


def test_one_schedule_serves_two_callbacks_without_memory(learner, teacher) -> None:
    first = KnowledgeDistillationCallback(teacher, SoftTarget, schedule=names.cos)
    learner(first).fit(1)
    second = KnowledgeDistillationCallback(teacher, SoftTarget, schedule=names.cos)
    assert second.current_weight == 0.0
    assert first.current_weight == pytest.approx(0.25)
