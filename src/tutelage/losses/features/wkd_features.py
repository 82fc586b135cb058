"""Wasserstein distance between features (Lv et al., WKD-F, NeurIPS 2024, 2412.08139)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_channels

EPS = 1e-5  # of the released code, added to the variance


def gaussian_distance(
    student: Tensor, teacher: Tensor, *, ratio: float = 2.0, grid: int = 1
) -> Float[Tensor, "B"]:
    r"""Measure the Wasserstein distance between the Gaussians of each channel, per sample.

    .. math:: \sum_c \rho (\mu^s_c - \mu^t_c)^2 + (\sigma^s_c - \sigma^t_c)^2, \qquad
        \sigma_c = \sqrt{\mathrm{var}_c + 10^{-5}}

    with mean and (unbiased) variance of a channel over its positions: the squared 2-Wasserstein
    distance of diagonal Gaussians at :math:`\rho = 1` (equation 9). It sums over the channels, so
    that its weight depends on the layer; the released code has 0.02 (ImageNet) and 0.08.

    Args:
        student: Maps ``[B, C, H, W]`` or tokens ``[B, N, C]``; sizes may differ from the teacher's.
        teacher: The same layout, batch and channels.
        ratio: :math:`\rho` of at least 0; the paper has 2 for ImageNet and 4 for CIFAR-100.
        grid: Number of cells along each side of a map. The value is the mean over the cells; where
            they do not divide the map, they overlap.

    Raises:
        ShapeError: Layout, batch or channels differ.

    >>> gaussian_distance(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 4, 4))
    tensor([4.])
    """
    same_channels(student, teacher, "WKDFeaturesLoss")
    values = [
        ratio * (mu_s - mu_t).square().sum(1) + (sigma_s - sigma_t).square().sum(1)
        for (mu_s, sigma_s), (mu_t, sigma_t) in zip(
            *([_moments(cell) for cell in _cells(f, grid)] for f in (student, teacher)), strict=True
        )
    ]
    return torch.stack(values).mean(0)


class WKDFeaturesLoss(FeatureLoss):
    r"""Distance between means and deviations of channels. See :func:`gaussian_distance`.

    Args:
        ratio: :math:`\rho` of at least 0.
        grid: Number of cells along each side of a map.

    >>> WKDFeaturesLoss()
    WKDFeaturesLoss(ratio=2.0, grid=1)
    """

    name = "wkd_features"
    paper = "2412.08139"
    projector = "conv"
    projector_options: ClassVar[Mapping[str, Any]] = {"norm": True, "relu": True}

    ratio: float
    grid: int

    def __init__(self, *, ratio: float = 2.0, grid: int = 1) -> None:
        super().__init__()
        self.ratio = _check.non_negative(ratio, "WKDFeaturesLoss.ratio")
        self.grid = _check.count(grid, "WKDFeaturesLoss.grid")

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, in squared features."""
        return gaussian_distance(student, teacher, ratio=self.ratio, grid=self.grid)


def _cells(feature: Tensor, grid: int) -> list[Float[Tensor, "B C P"]]:
    """Cut maps as adaptive pooling does; tokens have no grid."""
    if feature.ndim == 3 or grid == 1:
        return [feature.flatten(2) if feature.ndim == 4 else feature.mT]
    rows, columns = (
        [slice(i * n // grid, -(-(i + 1) * n // grid)) for i in range(grid)]
        for n in feature.shape[2:]
    )
    return [feature[:, :, row, column].flatten(2) for row in rows for column in columns]


def _moments(cell: Float[Tensor, "B C P"]) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
    wide = widen(cell)
    mean = wide.mean(2, keepdim=True)
    # Of a single position the unbiased variance would be 0 / 0; it has none.
    variance = (wide - mean).square().sum(2) / max(wide.shape[2] - 1, 1)
    return mean.squeeze(2), (variance + EPS).sqrt()
