"""WTTM, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import TTMLoss, WTTMLoss
from tutelage.losses.logits.wttm import weighted_transformed_divergence


def softmax(logits):
    powers = [math.exp(z - max(logits)) for z in logits]
    return [power / sum(powers) for power in powers]


def reference(student, teacher, power):
    """The sum of powers times the divergence of what they are of it, for one row of logits."""
    powers = [p_c**power for p_c in softmax(teacher)]
    total, q = sum(powers), softmax(student)
    return sum(u * math.log(u / total / q_c) for u, q_c in zip(powers, q, strict=True))


@pytest.mark.parametrize("power", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, power):
    torch.manual_seed(0)
    student, teacher = 2 * torch.randn(2, *shape, dtype=torch.float64)
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [reference(*row, power) for row in rows]
    expected = torch.tensor(values, dtype=torch.float64).view(shape[:-1])
    found = weighted_transformed_divergence(student, teacher, power=power)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(WTTMLoss(power=power)(student, teacher), expected.mean())


def test_a_known_number():
    # The roots of [1/10, 9/10] sum to 4 / sqrt(10) and are as 1 to 3.
    teacher = torch.tensor([[1.0, 9.0]]).log()
    value = WTTMLoss(power=0.5)(torch.zeros(1, 2), teacher)
    expected = 4 / math.sqrt(10) * (0.75 * math.log(3) - math.log(2))
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("teacher", "weight"), [([0.0] * 4, 4**0.5), ([0.0] * 3 + [1e4], 1)])
def test_the_weight_runs_from_a_certain_to_an_undecided_teacher(teacher, weight):
    student, teacher = torch.randn(1, 4), torch.tensor([teacher])
    ratio = WTTMLoss(power=0.5)(student, teacher) / TTMLoss(power=0.5)(student, teacher)
    assert ratio.item() == pytest.approx(weight, rel=1e-5)


def test_at_power_1_every_weight_is_1():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    expected = TTMLoss(power=1.0)(student, teacher)
    torch.testing.assert_close(WTTMLoss(power=1.0)(student, teacher), expected)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"found student \[4, 5\] vs teacher \[4, 6\]"):
        WTTMLoss()(torch.zeros(4, 5), torch.zeros(4, 6))


def test_a_power_outside_its_range_is_refused():
    with pytest.raises(InputError, match=r"WTTMLoss.power: expected a finite number above 0"):
        WTTMLoss(power=0)
