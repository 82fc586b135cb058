"""Gaussians of channels, against Python's own statistics."""

import math
import statistics

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import WKDFeaturesLoss
from tutelage.losses.features.wkd_features import gaussian_distance


def reference(student, teacher, ratio):
    total = 0.0
    for pair in zip(student, teacher, strict=True):
        mu_s, mu_t = map(statistics.fmean, pair)
        sigma_s, sigma_t = (math.sqrt(statistics.variance(row) + 1e-5) for row in pair)
        total += ratio * (mu_s - mu_t) ** 2 + (sigma_s - sigma_t) ** 2
    return total


@pytest.mark.parametrize("ratio", [2.0, 4.0, 0.0])
@pytest.mark.parametrize("tokens", [False, True])
def test_equals_the_reference(tokens, ratio):
    torch.manual_seed(0)
    student = torch.randn(3, 5, 4, 6, dtype=torch.float64)
    teacher = torch.randn(3, 5, 2, 2, dtype=torch.float64)
    rows = zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True)
    expected = torch.tensor([reference(*row, ratio) for row in rows], dtype=torch.float64)
    if tokens:
        student, teacher = student.flatten(2).mT, teacher.flatten(2).mT
    torch.testing.assert_close(gaussian_distance(student, teacher, ratio=ratio), expected)
    torch.testing.assert_close(WKDFeaturesLoss(ratio=ratio)(student, teacher), expected.mean())


@pytest.mark.parametrize(("size", "cells"), [(6, [(0, 3), (3, 6)]), (5, [(0, 3), (2, 5)])])
def test_a_grid_is_the_mean_over_its_cells(size, cells):
    student, teacher = torch.randn(2, 2, 3, size, size, dtype=torch.float64)
    values = [
        gaussian_distance(*(side[:, :, a:b, c:d] for side in (student, teacher)))
        for a, b in cells
        for c, d in cells
    ]
    found = gaussian_distance(student, teacher, grid=2)
    torch.testing.assert_close(found, torch.stack(values).mean(0))


def test_a_known_number():
    # Means 1 and 4, deviations sqrt(2) and 0 (up to 1e-5): 2 * 9 + 2.
    student, teacher = torch.tensor([[[[0.0, 2.0]]]]), torch.tensor([[[[4.0, 4.0]]]])
    torch.testing.assert_close(
        WKDFeaturesLoss()(student, teacher), torch.tensor(20.0), rtol=1e-3, atol=0
    )


def test_the_order_of_the_positions_does_not_count():
    student, teacher = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64)
    loss = WKDFeaturesLoss()
    torch.testing.assert_close(loss(student.flip(3), teacher), loss(student, teacher))


def test_constant_channels_and_single_positions_have_finite_gradients():
    for shape in ((2, 3, 4, 4), (2, 3, 1, 1)):
        student = torch.ones(shape, requires_grad=True)
        WKDFeaturesLoss()(student, torch.randn(shape)).backward()
        assert student.grad.isfinite().all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"WKDFeaturesLoss: .*same channels, found .*; add via="):
        WKDFeaturesLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(InputError, match=r"WKDFeaturesLoss.grid: expected a whole number, found"):
        WKDFeaturesLoss(grid=1.5)
    with pytest.raises(InputError, match=r"WKDFeaturesLoss.ratio: expected .* at least 0"):
        WKDFeaturesLoss(ratio=-1)
