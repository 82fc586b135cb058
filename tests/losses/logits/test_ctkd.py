"""KD with a learned temperature, against a loop over Python floats and finite differences."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import CTKDLoss, KDLoss
from tutelage.losses.logits.ctkd import divergence_at_learned_temperature, learned_temperature
from tutelage.schedules import Cosine


def softened(logits, temperature):
    exponentials = [math.exp(z / temperature) for z in logits]
    return [e / sum(exponentials) for e in exponentials]


def reference(student, teacher, theta, start, span):
    """T^2 sum_c p_c log(p_c / q_c), mean over rows, T = start + span / (1 + exp(-theta))."""
    temperature = start + span / (1 + math.exp(-theta))
    total = 0.0
    for row_s, row_t in zip(student, teacher, strict=True):
        p, q = softened(row_t, temperature), softened(row_s, temperature)
        total += temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(student)


@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 40)])
@pytest.mark.parametrize(("start", "span", "theta"), [(1.0, 20.0, 1.0), (0.5, 3.0, -2.0)])
def test_equals_the_reference(shape, start, span, theta):
    student, teacher = torch.randn(2, *shape, dtype=torch.float64)
    loss = CTKDLoss(start=start, span=span).double()
    torch.nn.init.constant_(loss.theta, theta)
    expected = reference(student.tolist(), teacher.tolist(), theta, start, span)
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("reversal", [-1.0, -0.25, 0.0, 1.0])
def test_the_gradient_to_the_temperature_is_the_true_one_times_the_reversal(reversal):
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    loss = CTKDLoss(reversal=reversal).double()
    loss(student, teacher).backward()
    rows, h = (student.tolist(), teacher.tolist()), 1e-5
    up, down = (reference(*rows, 1.0 + sign * h, 1.0, 20.0) for sign in (1, -1))
    assert loss.theta.grad.item() == pytest.approx(reversal * (up - down) / (2 * h), rel=1e-5)


def test_the_reversal_leaves_the_value_and_the_student_alone():
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    student.requires_grad_()
    one, other = (CTKDLoss(reversal=reversal)(student, teacher) for reversal in (-1.0, 0.3))
    assert one.item() == other.item()
    gradients = [torch.autograd.grad(value, student)[0] for value in (one, other)]
    torch.testing.assert_close(*gradients)


def test_a_known_temperature():
    # sigmoid(log 3) = 3/4 of a span of 4 above 1 is 4; the gradient is 4 * 3/4 * 1/4 * -1/2.
    theta = torch.tensor([math.log(3)], dtype=torch.float64, requires_grad=True)
    temperature = learned_temperature(theta, start=1.0, span=4.0, reversal=-0.5)
    temperature.backward()
    torch.testing.assert_close(temperature, torch.tensor(4.0, dtype=torch.float64))
    torch.testing.assert_close(theta.grad, torch.tensor([-0.375], dtype=torch.float64))


def test_it_is_kd_at_the_temperature_it_begins_with():
    student, teacher = torch.randn(2, 6, 5)
    loss = CTKDLoss()
    assert loss.temperature.item() == pytest.approx(1 + 20 / (1 + math.exp(-1)))
    expected = KDLoss(temperature=loss.temperature.item())(student, teacher)
    torch.testing.assert_close(loss(student, teacher), expected)


def test_an_optimiser_raises_the_loss_by_the_temperature():
    student, teacher = torch.randn(2, 64, 10, dtype=torch.float64)
    loss = CTKDLoss().double()
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.1)
    values = []
    for _ in range(5):
        value = loss(student, teacher)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values == sorted(values)
    assert values[-1] > values[0]


def test_the_reversal_may_follow_a_schedule():
    loss, logits = CTKDLoss(reversal=Cosine(0.0, -1.0, steps=10)), torch.randn(2, 6, 5)
    gradients = []
    for step in (0, 5, 10):
        loss.set_step(step)
        loss.zero_grad()
        loss(*logits).backward()
        gradients.append(loss.theta.grad.item())
    assert gradients[0] == 0
    assert gradients[1] == pytest.approx(gradients[2] / 2)


def test_classes_ruled_out_and_dropped_positions_leave_the_temperature_a_finite_gradient():
    student, teacher = torch.randn(2, 6, 5)
    teacher[:, 1:3] = -torch.inf
    teacher[2], student[3, 0] = torch.nan, torch.nan
    target = torch.tensor([0, 1, -100, -100, 2, 3])
    loss, kept = CTKDLoss(), target != -100
    value = loss(student, teacher, target)
    value.backward()
    assert loss.theta.grad.isfinite()
    expected = KDLoss(temperature=loss.temperature.item())(student[kept], teacher[kept])
    torch.testing.assert_close(value, expected)


def test_half_precision_and_other_dtypes_of_the_module_do_not_widen_the_loss():
    logits = torch.randn(2, 6, 5)
    assert CTKDLoss().double()(*logits).dtype == torch.float32
    assert CTKDLoss()(*logits.double()).dtype == torch.float64


def test_a_temperature_held_in_half_precision_may_be_high():
    logits = torch.randn(2, 6, 5)
    value = CTKDLoss(span=400.0).half()(*logits)
    torch.testing.assert_close(value, CTKDLoss(span=400.0)(*logits))


@pytest.mark.parametrize("option", ["start", "span"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_a_range_that_is_not_above_zero_is_refused(option, value):
    with pytest.raises(InputError, match=f"CTKDLoss.{option}: expected a finite number above 0"):
        CTKDLoss(**{option: value})


@pytest.mark.parametrize("value", [float("nan"), -float("inf"), "fast", True])
def test_a_reversal_that_is_no_number_is_refused(value):
    with pytest.raises(InputError, match=r"CTKDLoss.reversal: expected a finite number, at most 0"):
        CTKDLoss(reversal=value)


def test_unequal_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"found student \[4, 5\] vs teacher \[4, 1\]"):
        divergence_at_learned_temperature(torch.zeros(4, 5), torch.zeros(4, 1), torch.ones(1))
