"""Regression of the teacher's pooled features (FitNets' hint, 1412.6550, at the last layer)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.hint import VARIANTS, feature_distance
from tutelage.losses.features.layout import same_features
from tutelage.signals import pooled


def pooled_distance(
    student: Float[Tensor, "B *D"], teacher: Float[Tensor, "B *D"], *, variant: str = "mean"
) -> Float[Tensor, "B"]:
    r"""Measure the squared distance between the pooled features of each sample.

    .. math:: \mathrm{mean:}\ \frac{1}{D} \| \bar s - \bar t \|_2^2 \qquad
        \mathrm{paper:}\ \tfrac12 \| \bar s - \bar t \|_2^2

    where the bar is the mean over pixels or tokens (prefix tokens too). What timm's feature task
    trains, with weight 5 (``"mean"``).

    Args:
        student: Vectors ``[B, D]``, tokens ``[B, N, D]`` or maps ``[B, D, H, W]``.
        teacher: Any of them, of the same D.
        variant: ``"mean"``, or ``"paper"``: larger by the factor D / 2.

    Raises:
        ShapeError: The batches or widths differ.

    >>> import torch
    >>> pooled_distance(torch.zeros(1, 2), torch.tensor([[[[1.0, 3.0]], [[0.0, 0.0]]]]))
    tensor([2.])
    """
    s, t = (pooled(widen(f)) if f.ndim > 1 else f for f in (student, teacher))
    same_features(s, t, "PooledFeatureLoss")
    return feature_distance(s, t, variant=variant)


class PooledFeatureLoss(FeatureLoss):
    """Squared distance from the teacher's pooled features. See :func:`pooled_distance`.

    Args:
        variant: ``"mean"`` or ``"paper"``.

    >>> PooledFeatureLoss()
    PooledFeatureLoss(variant='mean')
    """

    name = "pooled_feature"
    paper = "1412.6550"
    projector = "linear"
    projector_options: ClassVar[Mapping[str, Any]] = {"pool": True}

    variant: str

    def __init__(self, *, variant: str = "mean") -> None:
        super().__init__()
        self.variant = _check.one_of(variant, VARIANTS, "PooledFeatureLoss.variant")

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, in squared features."""
        return pooled_distance(student, teacher, variant=self.variant)
