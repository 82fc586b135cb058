import math
import pickle

import pytest

from tutelage.errors import InputError
from tutelage.schedules import (
    Agp,
    Constant,
    Cosine,
    Dsd,
    Iterative,
    Linear,
    OneCycle,
    OneShot,
    Piecewise,
    Ramp,
    Schedule,
    curve,
    index,
)

RAMPS = [Linear, Cosine, Agp, OneCycle, Iterative, OneShot, Dsd]


def test_linear_is_a_line_between_its_ends() -> None:
    ramp = Linear(2.0, 10.0, steps=8, delay=3)
    for step in range(20):
        expected = 2.0 if step <= 3 else 10.0 if step >= 11 else 2.0 + (step - 3)
        assert ramp(step) == pytest.approx(expected)


def test_cosine_meets_its_ends_and_is_symmetric_about_its_middle() -> None:
    ramp = Cosine(4.0, 1.0, steps=10)
    assert ramp(0) == 4.0
    assert ramp(10) == ramp(999) == pytest.approx(1.0)
    for step in range(11):
        assert ramp(step) + ramp(10 - step) == pytest.approx(5.0)
    assert ramp(3) == pytest.approx(1.0 + 3.0 * (1 + math.cos(0.3 * math.pi)) / 2)


def test_agp_leaves_the_cube_of_what_remains() -> None:
    # Half-way an eighth of the way is left; at a quarter, 27 of 64 parts.
    assert curve(Agp(0.0, 64.0, steps=4, delay=1), 6) == [0.0, 0.0, 37.0, 56.0, 63.0, 64.0, 64.0]


def test_one_cycle_is_a_logistic_curve_that_ends_exactly_at_its_end() -> None:
    # (1 + e^-8) / (1 + e^6), (1 + e^-8) / (1 + e^-1), 1.
    ramp = OneCycle(10.0, 20.0, steps=2, delay=1)
    assert curve(ramp, 3) == pytest.approx([10.0, 10.024734529, 17.313038372, 20.0])
    assert ramp(3) == 20.0


def test_iterative_climbs_equal_stairs() -> None:
    ramp = Iterative(1.0, 2.0, steps=8, delay=1, rounds=4)
    assert curve(ramp, 10) == [1, 1, 1.25, 1.25, 1.5, 1.5, 1.75, 1.75, 2, 2, 2]


def test_iterative_climbs_no_stair_early_by_rounding() -> None:
    ramp = Iterative(0.0, 30.0, steps=30, rounds=30)
    assert curve(ramp, 30) == pytest.approx(list(range(31)))


def test_one_shot_jumps_once() -> None:
    assert curve(OneShot(0.2, 0.9, steps=2, delay=1), 5) == [0.2, 0.2, 0.2, 0.9, 0.9, 0.9]


def test_dsd_goes_there_and_back() -> None:
    expected = [1.0, 1.0, 2.0, 3.0, 2.0, 1.0, 1.0]
    assert curve(Dsd(1.0, 3.0, steps=4, delay=1), 6) == pytest.approx(expected)


def test_a_schedule_cannot_be_changed_and_can_be_pickled() -> None:
    for ramp in [Linear(0.0, 1.0, steps=5), Iterative(0.0, 1.0, steps=5, rounds=2)]:
        with pytest.raises(AttributeError):
            ramp.steps = 7  # type: ignore[misc]
        assert pickle.loads(pickle.dumps(ramp)) == ramp


def test_every_schedule_in_the_index_is_callable() -> None:
    arguments = {"constant": (1.0,), "piecewise": ((1.0,), ())}
    assert set(arguments) < set(index())
    for name, make in index().items():
        assert isinstance(make(*arguments.get(name, (0.0, 1.0, 5)))(3), float)
    assert Constant(2.0)(7) == 2.0


@pytest.mark.parametrize("make", RAMPS)
def test_an_impossible_span_is_refused(make: type[Ramp]) -> None:
    with pytest.raises(InputError, match="steps >= 1"):
        make(0.0, 1.0, steps=0)
    with pytest.raises(InputError, match="delay >= 0"):
        make(0.0, 1.0, steps=1, delay=-1)


def test_stairs_below_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"Iterative.rounds: expected .* at least 1"):
        Iterative(0.0, 1.0, steps=5, rounds=0)


def test_piecewise_names_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="one value more"):
        Piecewise((1.0, 2.0), (1, 2))
    with pytest.raises(InputError, match="rising"):
        Piecewise((1.0, 2.0, 3.0), (5, 5))


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(2.0),
        *(make(3.0, 0.5, steps=4, delay=2) for make in RAMPS),
        *(make(0.5, 3.0, steps=4) for make in RAMPS),
        Piecewise((1.0, 4.0, 0.25), (2, 5)),
        Piecewise((9.0, 4.0, 0.25), (0, 5)),
    ],
)
def test_bounds_are_the_extremes_that_are_reached(schedule: Schedule) -> None:
    values = [schedule(step) for step in range(20)]
    assert schedule.bounds == pytest.approx((min(values), max(values)))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    for make in (
        lambda: Constant(value),
        *(lambda make=make: make(1.0, value, steps=2) for make in RAMPS),
        *(lambda make=make: make(value, 1.0, steps=2) for make in RAMPS),
        lambda: Piecewise((1.0, value), (3,)),
    ):
        with pytest.raises(InputError, match="expected finite numbers, found"):
            make()


@pytest.mark.parametrize("make", [Linear, Cosine, Agp, OneCycle, Iterative, OneShot])
def test_the_end_is_met_exactly_however_far_away_it_is(make: type[Ramp]) -> None:
    assert make(1e5, 1e-17, steps=3)(3) == 1e-17


@pytest.mark.parametrize("make", [Linear, Cosine, Agp, Iterative, OneShot, Dsd])
def test_the_start_is_met_exactly_however_far_away_it_is(make: type[Ramp]) -> None:
    assert make(1e-17, 1e5, steps=3)(0) == 1e-17
