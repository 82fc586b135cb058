import math
import pickle

import pytest

from tutelage.errors import InputError
from tutelage.schedules import Constant, Cosine, Linear, Piecewise, index


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
