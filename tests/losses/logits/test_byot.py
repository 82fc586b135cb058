"""The loss of early exits, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import BYOTLoss, CELoss, KDLoss


def softmax(logits, temperature=1.0):
    powers = [math.exp(z / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def reference(student, teacher, label, temperature, alpha):
    q, p = softmax(student, temperature), softmax(teacher, temperature)
    kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return -(1 - alpha) * math.log(softmax(student)[label]) + alpha * kl


@pytest.mark.parametrize(("temperature", "alpha"), [(3.0, 0.1), (1.0, 0.5), (0.5, 1.0)])
def test_equals_the_reference(temperature, alpha):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    target = torch.randint(5, (6,))
    rows = zip(student.tolist(), teacher.tolist(), target.tolist(), strict=True)
    expected = sum(reference(*row, temperature, alpha) for row in rows) / 6
    found = BYOTLoss(temperature=temperature, alpha=alpha)(student, teacher, target)
    torch.testing.assert_close(found.item(), expected)


def test_a_known_number():
    # Exit [0, 0] with label 0, deepest [log 3, 0] at T = 1: 1/2 log 2 + 1/2 (3/4 log 3 - log 2)
    # + ... KL([3/4, 1/4] || [1/2, 1/2]) = 3/4 log 3 - log 2, so log 2 cancels: 3/8 log 3.
    deepest = torch.tensor([[math.log(3.0), 0.0]])
    value = BYOTLoss(temperature=1.0, alpha=0.5)(torch.zeros(1, 2), deepest, torch.tensor([0]))
    torch.testing.assert_close(value, torch.tensor(3 / 8 * math.log(3) + 0.0))


def test_its_ends_are_cross_entropy_and_distillation_without_its_factor():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    target = torch.tensor([0, 4, -100, 2])
    only_labels = BYOTLoss(alpha=0.0)(student, teacher, target)
    torch.testing.assert_close(only_labels, CELoss()(student, None, target))
    only_exit = BYOTLoss(alpha=1.0)(student, teacher, target)
    torch.testing.assert_close(only_exit, KDLoss(temperature=3.0)(student, teacher, target) / 9)


def test_soft_labels_are_taken():
    student, teacher = torch.randn(2, 4, 5)
    soft = torch.rand(4, 5).softmax(-1)
    assert BYOTLoss()(student, teacher, soft).isfinite()


def test_extreme_logits_stay_finite():
    student = torch.tensor([[1e4, -1e4]], dtype=torch.bfloat16, requires_grad=True)
    value = BYOTLoss()(student, -student.detach(), torch.tensor([1]))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_bad_settings_and_missing_labels_are_refused():
    with pytest.raises(InputError, match=r"BYOTLoss.alpha: expected a number from 0 to 1"):
        BYOTLoss(alpha=2)
    with pytest.raises(InputError, match=r"BYOTLoss: expected class targets"):
        BYOTLoss()(torch.zeros(1, 2), torch.zeros(1, 2))
