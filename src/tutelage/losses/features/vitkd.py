"""Practical guidelines for ViT feature knowledge distillation (Yang et al., ViTKD, 2209.02432)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_features, same_layers

VARIANTS = ("paper", "mean")


def token_distance(
    student: Float[Tensor, "B N D"],
    teacher: Float[Tensor, "B N D"],
    weight: Float[Tensor, "B N"] | None = None,
    *,
    variant: str = "paper",
) -> Float[Tensor, "B"]:
    r"""Measure the squared distance between the tokens of each sample, in squared features.

    .. math:: \mathrm{paper:}\ \sum_{n} u_n \sum_d (s_{nd} - t_{nd})^2 \qquad
        \mathrm{mean:}\ \frac{1}{N D} \sum_{n} u_n \sum_d (s_{nd} - t_{nd})^2

    Independent of the batch size; the paper's sum grows with tokens and width.

    Args:
        student: Tokens in the teacher's shape.
        teacher: Tokens of the same shape.
        weight: u, how much each token counts; ``None`` is 1 each.
        variant: ``"paper"``, or ``"mean"``, smaller by the factor N D.

    Raises:
        ShapeError: The shapes differ, or there is not one weight for each token.

    >>> token_distance(torch.zeros(1, 2, 3), torch.ones(1, 2, 3), torch.tensor([[2.0, 0.0]]))
    tensor([6.])
    """
    same_features(student, teacher, "ViTKDLoss")
    if student.ndim != 3 or (weight is not None and weight.shape != student.shape[:2]):
        weights = "no weight" if weight is None else f"weights {_check.shape(weight)}"
        raise ShapeError(
            f"ViTKDLoss: expected tokens [B, N, D] and a weight [B, N], found student "
            f"{_check.shape(student)} vs teacher {_check.shape(teacher)} and {weights}; tap the "
            "blocks of a ViT"
        )
    error = F.mse_loss(widen(student), widen(teacher), reduction="none")
    by_token = error.sum(2) if variant == "paper" else error.mean(2)
    if weight is not None:
        by_token = by_token * weight.to(by_token.dtype)
    return by_token.sum(1) if variant == "paper" else by_token.mean(1)


class ViTKDLoss(FeatureLoss):
    r"""Mimic a ViT's first layers, generate its last. See :func:`token_distance`.

    .. math:: \alpha \sum_{l < L} d(s_l, t_l) + \beta \, d(s_L, t_L, u), \qquad
        u_n = m_n / \lambda

    for hidden tokens m and their part :math:`\lambda`. It takes tokens of at least two layers, the
    paper's being the first two and the last, from the ``token_generation`` projector, whose last
    tensor is u; without that tensor all tokens count 1. Deep layers should not be mimicked.

    Args:
        mimic_weight: :math:`\alpha` of at least 0.
        generation_weight: :math:`\beta` of at least 0.
        variant: ``"paper"`` or ``"mean"``. The weights belong to the paper's variant at about 196
            tokens of width 768; for ``"mean"``, weights of 4.5 and 0.45 give the same there.

    >>> ViTKDLoss()
    ViTKDLoss(mimic_weight=3e-05, generation_weight=3e-06, variant='paper')
    """

    name = "vitkd"
    paper = "2209.02432"
    takes_layers = True
    projector = "token_generation"

    mimic_weight: float
    generation_weight: float
    variant: str

    def __init__(
        self,
        *,
        mimic_weight: float = 3e-5,
        generation_weight: float = 3e-6,
        variant: str = "paper",
    ) -> None:
        super().__init__()
        self.mimic_weight = _check.non_negative(mimic_weight, "ViTKDLoss.mimic_weight")
        self.generation_weight = _check.non_negative(
            generation_weight, "ViTKDLoss.generation_weight"
        )
        self.variant = _check.one_of(variant, VARIANTS, "ViTKDLoss.variant")

    def values(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Float[Tensor, "B"]:
        """Return one value per sample, in weighted squared features."""
        count = len(teacher)
        layers, more = student[:count], student[count:]
        same_layers(layers, teacher, "ViTKDLoss")
        if count < 2 or len(more) > 1:
            raise ShapeError(
                f"ViTKDLoss: expected at least two layers and at most one tensor of weights after "
                f"them, found student {len(student)} vs teacher {count}; give "
                "at=[(first, first), (second, second), (last, last)]"
            )
        if len({len(feature) for feature in (*student, *teacher)}) > 1:
            raise ShapeError(
                f"ViTKDLoss: expected one batch size, found student "
                f"{[_check.shape(s) for s in student]} vs teacher "
                f"{[_check.shape(t) for t in teacher]}; use the same batch"
            )
        weight = more[0] if more else None
        pairs = zip(layers[:-1], teacher[:-1], strict=True)
        mimicked = [token_distance(s, t, variant=self.variant) for s, t in pairs]
        generated = token_distance(layers[-1], teacher[-1], weight, variant=self.variant)
        mimicking = torch.stack(mimicked).sum(0)
        return self.mimic_weight * mimicking + self.generation_weight * generated
