import math
import pickle

import pytest

from tutelage.errors import InputError
from tutelage.schedules import Constant, Cosine, Linear, Piecewise, Schedule, index


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


def test_piecewise_changes_at_its_boundaries() -> None:
    steps = Piecewise((1.0, 0.5, 0.0), (2, 5))
    assert [steps(step) for step in range(7)] == [1.0, 1.0, 0.5, 0.5, 0.5, 0.0, 0.0]


def test_a_schedule_cannot_be_changed_and_can_be_pickled() -> None:
    ramp = Linear(0.0, 1.0, steps=5)
    with pytest.raises(AttributeError):
        ramp.steps = 7  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(ramp)) == ramp


def test_every_schedule_in_the_index_is_callable() -> None:
    arguments = {
        "constant": (1.0,),
        "linear": (0.0, 1.0, 5),
        "cosine": (0.0, 1.0, 5),
        "piecewise": ((1.0,), ()),
    }
    assert set(index()) == set(arguments)
    for name, make in index().items():
        assert isinstance(make(*arguments[name])(3), float)
    assert Constant(2.0)(7) == 2.0


@pytest.mark.parametrize("make", [Linear, Cosine])
def test_an_impossible_span_is_refused(make: type[Linear]) -> None:
    with pytest.raises(InputError, match="steps >= 1"):
        make(0.0, 1.0, steps=0)
    with pytest.raises(InputError, match="delay >= 0"):
        make(0.0, 1.0, steps=1, delay=-1)


def test_piecewise_names_what_does_not_fit() -> None:
    with pytest.raises(InputError, match="one value more"):
        Piecewise((1.0, 2.0), (1, 2))
    with pytest.raises(InputError, match="rising"):
        Piecewise((1.0, 2.0, 3.0), (5, 5))


@pytest.mark.parametrize(
    "schedule",
    [
        Constant(2.0),
        Linear(3.0, 0.5, steps=4, delay=2),
        Cosine(0.5, 3.0, steps=4),
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
        lambda: Linear(1.0, value, steps=2),
        lambda: Cosine(value, 1.0, steps=2),
        lambda: Piecewise((1.0, value), (3,)),
    ):
        with pytest.raises(InputError, match="expected finite numbers, found"):
            make()


@pytest.mark.parametrize("make", [Linear, Cosine])
def test_the_ends_are_met_exactly_however_far_apart_they_are(make: type[Linear]) -> None:
    assert make(1e5, 1e-17, steps=3)(3) == 1e-17
    assert make(1e-17, 1e5, steps=3)(0) == 1e-17
