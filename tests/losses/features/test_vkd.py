"""Smooth distance from the normalised teacher, against a loop over Python floats."""

import math
import statistics

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import VkDLoss
from tutelage.losses.features.vkd import normalised_distance
from tutelage.projectors import OrthogonalProjector


def reference(student, teacher):
    deviation = math.sqrt(statistics.pvariance(teacher) + 1e-5)
    target = [(t - statistics.fmean(teacher)) / deviation for t in teacher]
    gaps = [abs(s - t) for s, t in zip(student, target, strict=True)]
    return sum(g * g / 2 if g < 1 else g - 0.5 for g in gaps) / len(gaps)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1.0, 30.0])
def test_equals_the_reference(size, dtype):
    torch.manual_seed(0)
    student, teacher = size * torch.randn(2, 5, 6, dtype=dtype)
    rows = zip(student.tolist(), teacher.tolist(), strict=True)
    expected = torch.tensor([reference(*row) for row in rows], dtype=dtype)
    torch.testing.assert_close(normalised_distance(student, teacher), expected)
    torch.testing.assert_close(VkDLoss()(student, teacher), expected.mean())


def test_a_known_number():
    # The teacher's row is -1 and 1, normalised: gaps 0.5 (squared, halved) and 2 (less a half).
    value = VkDLoss()(torch.tensor([[-0.5, 3.0]]), torch.tensor([[10.0, 1000.0]]))
    torch.testing.assert_close(value, torch.tensor((0.125 + 1.5) / 2))


def test_neither_scale_nor_mean_of_the_teacher_counts():
    student, teacher = torch.randn(2, 4, 6, dtype=torch.float64)
    changed = VkDLoss()(student, 100 * teacher + 7)
    torch.testing.assert_close(changed, VkDLoss()(student, teacher), rtol=1e-4, atol=1e-5)


def test_whitened_features_are_uncorrelated_and_keep_their_axes():
    torch.manual_seed(0)
    mixing = torch.randn(3, 3, dtype=torch.float64)
    teacher = torch.randn(500, 3, dtype=torch.float64) @ mixing + 5
    centred = teacher - teacher.mean(0)
    # The inverse root of a covariance is the symmetric matrix whose square inverts it.
    values, axes = torch.linalg.eig(centred.T @ centred / 499 + 1e-5 * torch.eye(3))
    root = (axes @ torch.diag(values**-0.5) @ torch.linalg.inv(axes)).real
    target = centred @ root
    assert (target.T @ target / 499 - torch.eye(3)).abs().max() < 1e-3
    value = VkDLoss(normalise="whiten")(target, teacher)
    torch.testing.assert_close(value, torch.zeros(()).double(), rtol=0, atol=1e-9)


def test_maps_and_tokens_are_pooled():
    maps, teacher = torch.randn(4, 6, 3, 3), torch.randn(4, 7, 6)
    expected = VkDLoss()(maps.mean((2, 3)), teacher.mean(1))
    torch.testing.assert_close(VkDLoss()(maps, teacher), expected)


@pytest.mark.parametrize("normalise", ["layer", "whiten"])
def test_a_constant_teacher_stays_finite(normalise):
    student = torch.randn(4, 6, requires_grad=True)
    value = VkDLoss(normalise=normalise)(student, torch.full((4, 6), 3.0))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_its_projector_takes_maps_to_the_teachers_width():
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 7)
    projector = OrthogonalProjector.between(student, teacher, **VkDLoss.projector_options)
    assert projector(student).shape == teacher.shape
    assert VkDLoss()(projector(student), teacher).isfinite()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"VkDLoss: .*found student \[2, 3\] vs teacher \[2, 5\]"):
        VkDLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5))
    with pytest.raises(InputError, match=r"VkDLoss.normalise: expected one of layer, whiten"):
        VkDLoss(normalise="batch")
