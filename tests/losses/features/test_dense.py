"""Ignore regions of dense prediction: what is dropped counts nothing, whatever stands there."""

import pytest
import torch

from tutelage.losses import CWDLoss, KDLoss, PKDLoss


class DenseKD(KDLoss):
    """Plain distillation of maps: the Term moves the class axis, here by hand."""

    def forward(self, student, teacher, target=None):
        return super().forward(student.movedim(1, -1), teacher.movedim(1, -1), target)


LOSSES = [
    DenseKD(temperature=2.0),
    CWDLoss(temperature=2.0),
    CWDLoss(temperature=0.5),
    PKDLoss(),
]
dense = pytest.mark.parametrize("loss", LOSSES, ids=repr)


def maps():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    return student, teacher, torch.randint(4, (3, 5, 6))


@dense
def test_dropped_columns_are_as_if_cut_off(loss):
    student, teacher, target = maps()
    target[:, :, 4:] = -100
    expected = loss(student[..., :4], teacher[..., :4], target[:, :, :4])
    torch.testing.assert_close(loss(student, teacher, target), expected)


@dense
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_what_stands_at_a_dropped_position_counts_nothing(loss, value):
    student, teacher, target = maps()
    drop = torch.rand(3, 5, 6) < 0.4
    target[drop] = -100
    expected = loss(student, teacher, target)
    for side in (student, teacher):
        side.movedim(1, -1)[drop] = value
    student.requires_grad_()
    found = loss(student, teacher, target)
    found.backward()
    torch.testing.assert_close(found, expected)
    gradient = student.grad.movedim(1, -1)
    assert gradient[drop].eq(0).all()
    assert gradient[~drop].isfinite().all()
    assert gradient[~drop].ne(0).any()


@dense
def test_a_sample_without_a_kept_position_is_as_if_left_out(loss):
    student, teacher, target = maps()
    target[1] = -100
    kept = torch.tensor([0, 2])
    expected = loss(student[kept], teacher[kept], target[kept])
    torch.testing.assert_close(loss(student, teacher, target), expected)


@dense
def test_nothing_kept_is_zero_with_its_graph(loss):
    student, teacher, target = maps()
    student.requires_grad_()
    value = loss(student, teacher, torch.full_like(target, -100))
    value.backward()
    assert value == 0
    assert student.grad.eq(0).all()


@dense
def test_the_gradient_beside_a_hole_is_that_of_the_value(loss):
    student, teacher, target = maps()
    target[:, 1:3, 2:4] = -100
    assert torch.autograd.gradcheck(
        lambda tensor: loss(tensor, teacher, target), student.requires_grad_(), fast_mode=True
    )


@pytest.mark.parametrize("kind", [CWDLoss, PKDLoss])
def test_another_index_may_mean_nothing(kind):
    student, teacher, target = maps()
    other = torch.where(target == 2, 255, target)
    expected = kind()(student, teacher, torch.where(target == 2, -100, target))
    torch.testing.assert_close(kind(ignore_index=255)(student, teacher, other), expected)


@pytest.mark.parametrize("kind", [CWDLoss, PKDLoss])
@pytest.mark.parametrize("shape", [(3,), (3, 10, 12)])
def test_labels_of_images_or_of_another_resolution_drop_nothing(kind, shape):
    student, teacher, _ = maps()
    target = torch.full(shape, -100)
    torch.testing.assert_close(kind()(student, teacher, target), kind()(student, teacher))
