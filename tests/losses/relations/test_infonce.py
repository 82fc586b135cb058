"""Contrast within the batch, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import InfoNCELoss
from tutelage.losses.relations.infonce import contrast
from tutelage.schedules import Linear


def cosine(x, y):
    product = sum(a * b for a, b in zip(x, y, strict=True))
    return product / math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))


def reference(anchors, others, temperature):
    values = []
    for i, anchor in enumerate(anchors):
        scores = [math.exp(cosine(anchor, other) / temperature) for other in others]
        values.append(-math.log(scores[i] / sum(scores)))
    return values


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_equals_the_reference(temperature, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 3, dtype=dtype)
    forth = reference(student.tolist(), teacher.tolist(), temperature)
    back = reference(teacher.tolist(), student.tolist(), temperature)
    found = contrast(student, teacher, temperature=temperature)
    torch.testing.assert_close(found, torch.tensor(forth, dtype=dtype))
    both = InfoNCELoss(temperature=temperature, symmetric=True)(student, teacher)
    torch.testing.assert_close(both, torch.tensor(sum(forth + back) / 12, dtype=dtype))


def test_a_known_number():
    # Each finds its own at cosine 1 among one other at cosine 0.
    expected = torch.tensor(math.log(1 + math.exp(-1 / 0.07)))
    torch.testing.assert_close(InfoNCELoss()(torch.eye(2), 3 * torch.eye(2)), expected)


def test_vectors_that_tell_nothing_cost_the_logarithm_of_the_batch():
    value = InfoNCELoss()(torch.randn(7, 3), torch.ones(7, 3))
    torch.testing.assert_close(value, torch.tensor(math.log(7)))


def test_lengths_do_not_count():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 4)
    lengths = torch.rand(5, 1) + 1
    changed = InfoNCELoss()(1e20 * lengths * student, 1e-20 * teacher)
    torch.testing.assert_close(changed, InfoNCELoss()(student, teacher))


def test_a_low_temperature_stays_finite():
    student = torch.randn(4, 3, requires_grad=True)
    value = InfoNCELoss(temperature=1e-6)(student, -student.detach())
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_the_temperature_may_follow_a_schedule():
    loss = InfoNCELoss(temperature=Linear(1.0, 0.1, steps=10))
    student, teacher = torch.randn(2, 5, 4)
    loss.set_step(10)
    expected = InfoNCELoss(temperature=0.1)(student, teacher)
    torch.testing.assert_close(loss(student, teacher), expected)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"InfoNCELoss: .*project the student with via=\"paper\""):
        InfoNCELoss()(torch.zeros(4, 3), torch.zeros(4, 5))
    with pytest.raises(InputError, match=r"InfoNCELoss.temperature: expected a finite number abo"):
        InfoNCELoss(temperature=0)
