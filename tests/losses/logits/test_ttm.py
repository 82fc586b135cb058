"""TTM, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import KDLoss, TTMLoss
from tutelage.losses.logits.ttm import transformed_divergence


def softmax(logits):
    powers = [math.exp(z - max(logits)) for z in logits]
    return [power / sum(powers) for power in powers]


def reference(student, teacher, power):
    """KL of the powers of the teacher's probabilities, summing to 1, for one row of logits."""
    powers = [p_c**power for p_c in softmax(teacher)]
    p, q = [p_c / sum(powers) for p_c in powers], softmax(student)
    return sum(p_c * math.log(p_c / q_c) for p_c, q_c in zip(p, q, strict=True))


@pytest.mark.parametrize("power", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, power):
    torch.manual_seed(0)
    student, teacher = 2 * torch.randn(2, *shape, dtype=torch.float64)
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [reference(*row, power) for row in rows]
    expected = torch.tensor(values, dtype=torch.float64).view(shape[:-1])
    found = transformed_divergence(student, teacher, power=power)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(TTMLoss(power=power)(student, teacher), expected.mean())


def test_a_known_number():
    # The roots of [1/10, 9/10] are as 1 to 3: [1/4, 3/4] against [1/2, 1/2].
    teacher = torch.tensor([[1.0, 9.0]]).log()
    value = TTMLoss(power=0.5)(torch.zeros(1, 2), teacher)
    assert value.item() == pytest.approx(0.75 * math.log(3) - math.log(2), rel=1e-5)


def test_the_teacher_at_the_inverse_temperature_is_the_minimum():
    teacher = torch.randn(4, 5, dtype=torch.float64)
    student = (teacher / 4).requires_grad_()
    value = TTMLoss(power=0.25)(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-15)
    assert student.grad.abs().max() < 1e-15


def test_at_power_1_it_is_kd_at_temperature_1():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    expected = KDLoss(temperature=1.0)(student, teacher)
    torch.testing.assert_close(TTMLoss(power=1.0)(student, teacher), expected)


def test_a_certain_teacher_stays_certain_at_every_power():
    # Its other classes are ruled out or 1e4 away: what is left is the cross-entropy.
    student = torch.tensor([[0.0, 1.0, 2.0]])
    expected = -student.log_softmax(-1)[0, 1]
    for rest in (-1e4, -torch.inf):
        teacher = torch.tensor([[rest, 0.0, rest]])
        torch.testing.assert_close(TTMLoss(power=0.1)(student, teacher), expected)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"TTMLoss: .*found student \[4, 5\] vs teacher \[4, 6\]"):
        TTMLoss()(torch.zeros(4, 5), torch.zeros(4, 6))


def test_a_power_outside_its_range_is_refused():
    with pytest.raises(InputError, match=r"TTMLoss.power: expected a finite number above 0"):
        TTMLoss(power=0)
