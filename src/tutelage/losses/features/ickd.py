"""Inter-channel correlation (Liu et al., ICCV 2021, pages 8271-8280)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import by_channel, same_channels
from tutelage.losses.features.products import products
from tutelage.losses.features.unit import unit

VARIANTS = ("author", "mean")


def correlation_distance(
    student: Tensor, teacher: Tensor, *, variant: str = "author"
) -> Float[Tensor, "B"]:
    r"""Measure how differently the channels of student and teacher go together, per sample.

    .. math:: \frac{1}{C} \| N(F^s F^{s\top}) - N(F^t F^{t\top}) \|_F^2

    for features F ``[C, P]``, where N brings each row of the ``[C, C]`` matrix to unit length
    (equation 4, divided by C as in the released code). Positions may differ, since they are
    summed over; scaling a feature changes nothing. Each row adds at most 4.

    Args:
        student: Maps ``[B, C, H, W]`` or tokens ``[B, N, C]``.
        teacher: The same layout, batch and channels.
        variant: ``"author"``; ``"mean"`` over all entries is smaller by the factor C.

    Raises:
        ShapeError: Layout, batch or channels differ.

    >>> import torch
    >>> feature = torch.eye(2).view(1, 2, 1, 2)
    >>> correlation_distance(feature, torch.ones(1, 2, 1, 2))  # rows [1, 0] vs [1, 1] / sqrt(2)
    tensor([0.5858])
    """
    same_channels(student, teacher, "ICKDLoss")
    s, t = (by_channel(widen(feature)) for feature in (student, teacher))
    squares = (unit(products(s, s)) - unit(products(t, t))).square()
    return squares.mean((1, 2)) if variant == "mean" else squares.sum(2).mean(1)


class ICKDLoss(FeatureLoss):
    """Distance between correlations of channels. See :func:`correlation_distance`.

    torchdistill divides by the batch size once more, so that its value halves as the batch
    doubles: that is not offered.

    Args:
        variant: ``"author"`` or ``"mean"``.

    >>> ICKDLoss()
    ICKDLoss(variant='author')
    """

    name = "ickd"
    paper = "ICCV 2021, pages 8271-8280"
    projector = "conv"
    projector_options: ClassVar[Mapping[str, Any]] = {"bias": False, "norm": True}

    variant: str

    def __init__(self, *, variant: str = "author") -> None:
        super().__init__()
        self.variant = _check.one_of(variant, VARIANTS, "ICKDLoss.variant")

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, without unit."""
        return correlation_distance(student, teacher, variant=self.variant)
