"""Distilling knowledge via knowledge review (Chen et al., ReviewKD, CVPR 2021, 2104.09044)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_layers, same_maps


def context_distance(
    student: Float[Tensor, "B C H W"],
    teacher: Float[Tensor, "B C H W"],
    *,
    levels: Sequence[int] = (4, 2, 1),
) -> Float[Tensor, "B"]:
    r"""Measure the squared distance of two maps at several scales: hierarchical context loss.

    .. math:: \frac{d(s, t) + \sum_{k=1}^{n} 2^{-k} \, d(P_{l_k} s, P_{l_k} t)}
        {1 + \sum_{k=1}^{n} 2^{-k}}, \qquad d(a, b) = \frac{1}{|a|} \sum_i (a_i - b_i)^2

    :math:`P_l` averages a map down to l x l pixels, for the n levels l that are below the map's
    height. In squared features; independent of batch size and channel count. Coarse levels
    average errors of no common sign away, so the value falls, at most by the factor 1.875, as a map
    is high enough for more of them. The weights :math:`2^{-k}` are the released code's.

    Args:
        student: Map in the teacher's shape.
        teacher: Map of the same shape.
        levels: l, in the order of falling weight; the paper's choice is 4, 2, 1.

    Raises:
        ShapeError: One is no map, or the shapes differ.

    >>> student = torch.tensor([[[[1.0, -1.0], [1.0, -1.0]]]])
    >>> context_distance(student, torch.zeros(1, 1, 2, 2))  # one level, where nothing is left
    tensor([0.6667])
    """
    same_maps(student, teacher, "ReviewKDLoss")
    difference = widen(student) - widen(teacher)
    distance, weight, total = difference.square().mean((1, 2, 3)), 1.0, 1.0
    for level in levels:
        if level >= difference.shape[2] or not difference.numel():
            continue
        weight /= 2
        total += weight
        # The average of a difference is the difference of the averages.
        coarse = F.adaptive_avg_pool2d(difference, (level, level))
        distance = distance + weight * coarse.square().mean((1, 2, 3))
    return distance / total


class ReviewKDLoss(FeatureLoss):
    """Sum over layers of distances at several scales. See :func:`context_distance`.

    It takes the maps of several stages, from the shallowest to the deepest, each of the student's
    fused with all deeper ones by the ``review_fusion`` projector.

    Args:
        levels: Heights and widths, in pixels, to which the maps are averaged, each at least 1.

    >>> ReviewKDLoss()
    ReviewKDLoss(levels=(4, 2, 1))
    """

    name = "reviewkd"
    paper = "2104.09044"
    takes_layers = True
    projector = "review_fusion"

    levels: tuple[int, ...]

    def __init__(self, *, levels: Sequence[int] = (4, 2, 1)) -> None:
        super().__init__()
        if any(level != int(level) or level < 1 for level in levels):
            raise InputError(
                f"ReviewKDLoss.levels: expected whole numbers of at least 1, found {levels!r}"
            )
        self.levels = tuple(map(int, levels))

    def values(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Float[Tensor, "B"]:
        """Return one value per sample, in squared features."""
        same_layers(student, teacher, "ReviewKDLoss")
        if len({len(feature) for feature in (*student, *teacher)}) > 1:
            raise ShapeError(
                f"ReviewKDLoss: expected one batch size, found student "
                f"{[_check.shape(s) for s in student]} vs teacher "
                f"{[_check.shape(t) for t in teacher]}; use the same batch"
            )
        pairs = zip(student, teacher, strict=True)
        return torch.stack([context_distance(s, t, levels=self.levels) for s, t in pairs]).sum(0)
