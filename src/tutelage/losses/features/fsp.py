"""Flow of the solution procedure (Yim et al., A Gift from Knowledge Distillation, CVPR 2017)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_channels, same_layers
from tutelage.losses.features.products import products

VARIANTS = ("paper", "mean", "columns")
POOLS = ("max", "average")


def flow_matrix(
    first: Float[Tensor, "B C H W"], second: Float[Tensor, "B D H W"], *, pool: str = "max"
) -> Float[Tensor, "B C D"]:
    r"""Return how the channels of two layers go together: the direction of the flow between them.

    .. math:: G_{ij} = \frac{1}{H W} \sum_x F^1_{ix} F^2_{jx}

    Equation 1. The larger map is first pooled to the smaller one.

    Args:
        first: ``[B, C, H, W]``.
        second: ``[B, D, H', W']``.
        pool: ``"max"`` as in the paper, or ``"average"``.

    >>> flow_matrix(torch.ones(1, 2, 4, 4), torch.full((1, 1, 2, 2), 3.0))
    tensor([[[3.],
             [3.]]])
    """
    height, width = map(min, first.shape[2:], second.shape[2:])
    resize = F.adaptive_max_pool2d if pool == "max" else F.adaptive_avg_pool2d
    f_1, f_2 = (
        (f if tuple(f.shape[2:]) == (height, width) else resize(f, (height, width))).flatten(2)
        for f in (first, second)
    )
    return products(f_1, f_2) / (height * width)


def flow_distance(
    student: Sequence[Float[Tensor, "B C H W"]],
    teacher: Sequence[Float[Tensor, "B C H W"]],
    *,
    variant: str = "paper",
    pool: str = "max",
) -> Float[Tensor, "B"]:
    r"""Measure how differently the features of student and teacher flow from layer to layer.

    .. math:: \sum_l \| G^s_l - G^t_l \|_F^2

    for :func:`flow_matrix` G of each pair of neighbouring layers. Equation 2. It grows with the
    number of pairs of channels and with the fourth power of the features, not with the resolution.

    Args:
        student: Maps ``[B, C, H, W]`` of at least two layers, from input to output.
        teacher: As many, with the same channels; the sizes of the maps may differ.
        variant: ``"paper"``; ``"mean"`` is smaller by the number of entries of each matrix (common
            code, with ``pool="average"``); ``"columns"`` sums the lengths of the columns of
            :math:`G^s_l - G^t_l` instead (torchdistill): neither square nor mean.
        pool: ``"max"`` or ``"average"``.

    Raises:
        ShapeError: Fewer than two layers, or layouts or channels that differ.
    """
    _check_layers(student, teacher)
    g_s, g_t = (
        [flow_matrix(widen(a), widen(b), pool=pool) for a, b in pairwise(layers)]
        for layers in (student, teacher)
    )
    return torch.stack([_size(s - t, variant) for s, t in zip(g_s, g_t, strict=True)]).sum(0)


class FSPLoss(FeatureLoss):
    """Distance between flows of features from layer to layer. See :func:`flow_distance`.

    Args:
        variant: ``"paper"``, ``"mean"`` or ``"columns"``.
        pool: ``"max"`` or ``"average"``.

    >>> FSPLoss()
    FSPLoss(variant='paper', pool='max')
    """

    name = "fsp"
    paper = "CVPR 2017"
    takes_layers = True

    variant: str
    pool: str

    def __init__(self, *, variant: str = "paper", pool: str = "max") -> None:
        super().__init__()
        self.variant = _check.one_of(variant, VARIANTS, "FSPLoss.variant")
        self.pool = _check.one_of(pool, POOLS, "FSPLoss.pool")

    def values(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Float[Tensor, "B"]:
        """Return one value per sample, in features to the fourth power (``"columns"``: squared)."""
        return flow_distance(student, teacher, variant=self.variant, pool=self.pool)


def _size(difference: Float[Tensor, "B C D"], variant: str) -> Float[Tensor, "B"]:
    if variant == "columns":
        # vector_norm has the gradient 0 at 0, where the root of a sum would have NaN.
        lengths: Tensor = torch.linalg.vector_norm(difference, dim=1)
        return lengths.sum(1)
    squares = difference.square()
    return squares.mean((1, 2)) if variant == "mean" else squares.sum((1, 2))


def _check_layers(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    same_layers(student, teacher, "FSPLoss")
    if len(student) < 2:
        raise ShapeError(
            "FSPLoss: expected at least two layers, found 1; name pairs of layers, "
            "at=[(student, teacher), ...]"
        )
    for layer, (s, t) in enumerate(zip(student, teacher, strict=True)):
        if s.ndim != 4:
            raise ShapeError(
                f"FSPLoss, layer {layer}: expected maps [B, C, H, W], found student "
                f"{_check.shape(s)} vs teacher {_check.shape(t)}; tap convolutional layers"
            )
        same_channels(s, t, f"FSPLoss, layer {layer}")
