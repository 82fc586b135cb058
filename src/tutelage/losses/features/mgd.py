"""Masked generative distillation (Yang et al., MGD, ECCV 2022, 2205.01529)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_features

VARIANTS = ("paper", "mean")


def generation_distance(
    student: Float[Tensor, "B *D"], teacher: Float[Tensor, "B *D"], *, variant: str = "paper"
) -> Float[Tensor, "B"]:
    r"""Measure how far the generated map is from the teacher's, per sample, in squared features.

    .. math:: \mathrm{paper:}\ \sum_{chw} (g_{chw} - t_{chw})^2 \qquad
        \mathrm{mean:}\ \frac{1}{C H W} \sum_{chw} (g_{chw} - t_{chw})^2

    All pixels count, hidden or not. Both are independent of the batch size; the paper's sum grows
    with channels and resolution.

    Args:
        student: g, generated from the student's masked map, in the teacher's shape.
        teacher: t, of the same shape.
        variant: ``"paper"``, or ``"mean"``, smaller by the factor C H W, so that one weight serves
            maps of all sizes.

    Raises:
        ShapeError: The shapes differ, or there is only one axis.

    >>> import torch
    >>> generation_distance(torch.zeros(1, 2, 2, 2), torch.full((1, 2, 2, 2), 3.0))
    tensor([72.])
    """
    same_features(student, teacher, "MGDLoss")
    error = F.mse_loss(widen(student), widen(teacher), reduction="none").flatten(1)
    return error.sum(1) if variant == "paper" else error.mean(1)


class MGDLoss(FeatureLoss):
    """Squared distance of the generated map, mean over samples. See :func:`generation_distance`.

    The method is in its projector, ``masked_generation``. Weights of the ``"paper"`` variant in the
    released code, not included here: 7e-5 for classification, 2e-5 for one-stage detectors and
    segmentation, 5e-7 for two-stage detectors. They belong to the sizes of those maps; the same
    weight for ``"mean"`` is larger by C H W (7e-5 at 2048 x 7 x 7 is 7.0).

    Args:
        variant: ``"paper"`` or ``"mean"``.

    >>> MGDLoss()
    MGDLoss(variant='paper')
    """

    name = "mgd"
    paper = "2205.01529"
    projector = "masked_generation"
    projector_options: ClassVar[Mapping[str, Any]] = {"over": "channels", "ratio": 0.15}

    variant: str

    def __init__(self, *, variant: str = "paper") -> None:
        super().__init__()
        self.variant = _check.one_of(variant, VARIANTS, "MGDLoss.variant")

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, in squared features."""
        return generation_distance(student, teacher, variant=self.variant)
