"""Activation boundaries, against a loop over Python floats."""

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import ABLoss
from tutelage.losses.features.ab import boundary_distance


def reference(student, teacher, margin):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        if t <= 0 and s > -margin:
            total += (s + margin) ** 2
        if t > 0 and s <= margin:
            total += (s - margin) ** 2
    return total


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("margin", [1.0, 0.3, 2.5])
@pytest.mark.parametrize("shape", [(6, 5), (3, 4, 7), (2, 3, 4, 5)])
def test_equals_the_reference(shape, margin, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=dtype)
    rows = zip(student.flatten(1).tolist(), teacher.flatten(1).tolist(), strict=True)
    expected = torch.tensor([reference(*row, margin) for row in rows], dtype=dtype)
    torch.testing.assert_close(boundary_distance(student, teacher, margin=margin), expected)
    size = student[0].numel()
    loss = ABLoss(margin=margin, variant="mean")
    torch.testing.assert_close(loss(student, teacher), expected.mean() / size)


def test_a_known_number():
    # Margin 1: (0.5 + 1)^2 where the teacher is off, (0.5 - 1)^2 where it is on.
    student, teacher = torch.full((1, 2), 0.5), torch.tensor([[-3.0, 3.0]])
    assert ABLoss()(student, teacher) == 2.5
    assert ABLoss(variant="mean")(student, teacher) == 1.25


def test_only_the_teachers_signs_count():
    student, teacher = torch.randn(2, 4, 6, dtype=torch.float64)
    loss = ABLoss()
    assert loss(student, teacher) == loss(student, 1e6 * teacher.sign())


def test_past_the_margin_nothing_pulls():
    teacher = torch.randn(3, 8)
    student = (1.001 * teacher.sign()).requires_grad_()
    value = ABLoss()(student, teacher)
    value.backward()
    assert value == 0
    assert student.grad.eq(0).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"ABLoss: .*tl.ConvProjector\(3, 5\)"):
        ABLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(InputError, match=r"ABLoss.margin: expected a finite number above 0"):
        ABLoss(margin=0)
    with pytest.raises(InputError, match=r"ABLoss.variant: expected one of author, mean"):
        ABLoss(variant="sum")
