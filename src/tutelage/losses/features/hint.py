"""Hints: regression of the teacher's features (Romero et al., FitNets, ICLR 2015, 1412.6550)."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_features

VARIANTS = ("mean", "paper")


def feature_distance(
    student: Float[Tensor, "B *D"], teacher: Float[Tensor, "B *D"], *, variant: str = "mean"
) -> Float[Tensor, "B"]:
    r"""Measure the squared distance between the features of each sample, in squared features.

    .. math:: \mathrm{mean:}\ \frac{1}{|D|} \sum_d (s_d - t_d)^2 \qquad
        \mathrm{paper:}\ \tfrac12 \sum_d (s_d - t_d)^2

    Args:
        student: Features of any layout, ``[B, D]``, ``[B, N, D]``, ``[B, C, H, W]``: in the
            teacher's shape already, through a projector where theirs differ.
        teacher: Features of the same shape.
        variant: ``"mean"`` is what common code computes (with weight 100). ``"paper"`` is
            equation 3: larger by the factor \|D\| / 2, so that its weight depends on the layer.

    Raises:
        ShapeError: The shapes differ, or there is only one axis.

    >>> import torch
    >>> student, teacher = torch.zeros(1, 4), torch.tensor([[3.0, 4.0, 0.0, 0.0]])
    >>> feature_distance(student, teacher)
    tensor([6.2500])
    >>> feature_distance(student, teacher, variant="paper")
    tensor([12.5000])
    """
    same_features(student, teacher, "HintLoss")
    error = F.mse_loss(widen(student), widen(teacher), reduction="none")
    features = tuple(range(1, error.ndim))
    return error.sum(features) / 2 if variant == "paper" else error.mean(features)


class HintLoss(FeatureLoss):
    """Squared distance from the teacher's features. See :func:`feature_distance`.

    Args:
        variant: ``"mean"`` or ``"paper"``.

    >>> import torch
    >>> HintLoss()(torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 2.0))
    tensor(4.)
    """

    name = "hint"
    paper = "1412.6550"

    variant: str

    def __init__(self, *, variant: str = "mean") -> None:
        super().__init__()
        self.variant = _check.one_of(variant, VARIANTS, "HintLoss.variant")

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, in squared features."""
        return feature_distance(student, teacher, variant=self.variant)
