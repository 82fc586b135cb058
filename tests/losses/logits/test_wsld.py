"""WSLD, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import KDLoss, WSLDLoss
from tutelage.losses.logits.wsld import weighted_soft_labels


def softmax(logits, temperature=1.0):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def reference(student, teacher, y, temperature):
    """The weight of the two cross-entropies times the soft one, for one row of logits."""
    loss_s, loss_t = (-math.log(softmax(row)[y]) for row in (student, teacher))
    weight = 1 - math.exp(-loss_s / (loss_t + 1e-7))
    q, p = softmax(student, temperature), softmax(teacher, temperature)
    soft = -sum(p_c * math.log(q_c) for p_c, q_c in zip(p, q, strict=True))
    return weight * temperature**2 * soft


@pytest.mark.parametrize("temperature", [0.5, 1, 4.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature):
    torch.manual_seed(0)
    student, teacher = 2 * torch.randn(2, *shape, dtype=torch.float64)
    target = torch.randint(shape[-1], shape[:-1])
    rows = (tensor.flatten(0, -2).tolist() for tensor in (student, teacher, target.unsqueeze(-1)))
    values = [reference(s, t, y, temperature) for s, t, (y,) in zip(*rows, strict=True)]
    expected = torch.tensor(values, dtype=torch.float64).view(shape[:-1])
    found = weighted_soft_labels(student, teacher, target, temperature=temperature)
    torch.testing.assert_close(found, expected)
    loss = WSLDLoss(temperature=temperature)
    torch.testing.assert_close(loss(student, teacher, target), expected.mean())


def test_a_known_number():
    # The label costs the student log 4 and the teacher log 2: the weight is 1 - e^-2. At T = 1
    # [1/2, 1/2] against [1/4, 3/4] is log 4 - log(3) / 2.
    student = torch.tensor([[1.0, 3.0]], dtype=torch.float64).log()
    teacher = torch.zeros(1, 2, dtype=torch.float64)
    value = WSLDLoss(temperature=1.0)(student, teacher, torch.tensor([0]))
    expected = (1 - math.exp(-2)) * (math.log(4) - math.log(3) / 2)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_the_weight_is_a_constant_for_the_gradient():
    student, teacher = torch.randn(2, 1, 5, dtype=torch.float64)
    target, student = torch.tensor([2]), student.requires_grad_()
    kd = KDLoss(temperature=2.0, variant="cross-entropy")(student, teacher)
    value = WSLDLoss()(student, teacher, target)
    weight = (value / kd).detach()
    found, plain = (torch.autograd.grad(loss, student)[0] for loss in (value, kd))
    torch.testing.assert_close(found, weight * plain)


def test_a_teacher_that_is_certain_and_right_weighs_fully():
    student, teacher = torch.randn(1, 3), torch.tensor([[1e4, 0.0, 0.0]])
    value = WSLDLoss()(student, teacher, torch.tensor([0]))
    kd = KDLoss(temperature=2.0, variant="cross-entropy")(student, teacher)
    torch.testing.assert_close(value, kd)


@pytest.mark.parametrize("logit", [-1e4, -torch.inf])
def test_a_teacher_that_is_certain_and_wrong_weighs_nothing(logit):
    teacher = torch.tensor([[logit, 0.0, 0.0]])
    student = torch.randn(1, 3, requires_grad=True)
    value = WSLDLoss()(student, teacher, torch.tensor([0]))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-2)
    assert student.grad.abs().max() < 1e-2


def test_mixed_labels_are_refused():
    with pytest.raises(InputError, match="WSLDLoss: expected class indices, found probabilities"):
        WSLDLoss()(torch.zeros(4, 5), torch.zeros(4, 5), torch.full((4, 5), 0.2))


@pytest.mark.parametrize("name", ["temperature", "eps"])
def test_hyper_parameters_outside_their_range_are_refused(name):
    with pytest.raises(InputError, match=rf"WSLDLoss.{name}: expected a finite number above 0"):
        WSLDLoss(**{name: 0})
