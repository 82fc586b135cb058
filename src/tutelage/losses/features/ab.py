"""Activation boundaries (Heo et al., AAAI 2019, 1811.03233)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_features

VARIANTS = ("author", "mean")


def boundary_distance(
    student: Float[Tensor, "B *D"],
    teacher: Float[Tensor, "B *D"],
    *,
    margin: float = 1.0,
    variant: str = "author",
) -> Float[Tensor, "B"]:
    r"""Measure how far the student's neurons are from firing where the teacher's do.

    .. math:: \sum_d \max(0, m - g_d s_d)^2, \qquad g_d = +1 \ \mathrm{if}\ t_d > 0, \ -1 \
        \mathrm{else}

    on pre-activations (before the ReLU): only the teacher's sign counts. Equation 5 of the paper.

    Args:
        student: Pre-activations of any layout ``[B, ...]``, in the teacher's shape.
        teacher: Pre-activations of the same shape.
        margin: m above 0, in units of the pre-activations; the paper uses 1.
        variant: ``"author"`` sums over the features of a sample, so that its weight depends on the
            layer (the released script has 0.003, with 1, 1/2, 1/4, ... for the layers from the
            last one back). ``"mean"`` is smaller by their number.

    Raises:
        ShapeError: The shapes differ, or there is only one axis.

    On the right side of the boundary by the margin, nothing is left to do:

    >>> import torch
    >>> boundary_distance(torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[0.1, -9.0, 3.0]]))
    tensor([0.2500])
    """
    same_features(student, teacher, "ABLoss")
    s, t = widen(student), widen(teacher)
    g = torch.where(t > 0, 1.0, -1.0).masked_fill(t.isnan(), torch.nan)
    squares = F.relu(margin - g * s).square()
    features = tuple(range(1, s.ndim))
    return squares.mean(features) if variant == "mean" else squares.sum(features)


class ABLoss(FeatureLoss):
    """Distance from the teacher's activation pattern. See :func:`boundary_distance`.

    Args:
        margin: m above 0.
        variant: ``"author"`` or ``"mean"``.

    >>> ABLoss()
    ABLoss(margin=1.0, variant='author')
    """

    name = "ab"
    paper = "1811.03233"
    projector = "conv"
    projector_options: ClassVar[Mapping[str, Any]] = {"norm": True}

    margin: float
    variant: str

    def __init__(self, *, margin: float = 1.0, variant: str = "author") -> None:
        super().__init__()
        self.margin = _check.positive(margin, "ABLoss.margin")
        self.variant = _check.one_of(variant, VARIANTS, "ABLoss.variant")

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, in squared pre-activations."""
        return boundary_distance(student, teacher, margin=self.margin, variant=self.variant)
