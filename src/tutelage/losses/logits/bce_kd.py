"""Binary cross-entropy with the teacher's probabilities (Hao et al., NeurIPS 2023, 2305.15781)."""

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.bce import VARIANTS, binary_values

PROBABILITIES = ("softmax", "sigmoid")


def binary_teacher_cross_entropy(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    probabilities: str = "softmax",
    variant: str = "mean",
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how badly each class by itself predicts the teacher's probability of it, in nats.

    .. math:: -\frac{1}{C} \sum_c \big[ p_c \log \sigma(z^s_c)
        + (1 - p_c) \log (1 - \sigma(z^s_c)) \big], \qquad p = \mathrm{softmax}(z^t)

    For students trained with a binary cross-entropy. It is a cross-entropy: the best student,
    :math:`\sigma(z^s) = p`, pays the teacher's binary entropies, and equal logits are not
    the best under ``"softmax"``. The mean over classes shrinks as their number grows.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape.
        probabilities: How the teacher's logits become p: ``"softmax"`` for a teacher whose
            classes compete, as in the paper's code; ``"sigmoid"`` for one that itself was trained
            with a binary cross-entropy or on several labels.
        variant: ``"mean"`` over the classes, as the paper's code; ``"sum"`` is larger by the
            factor C.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    An undecided student pays log 2 for each class, whatever the teacher says:

    >>> import torch
    >>> binary_teacher_cross_entropy(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 9.0]]))
    tensor([0.6931])
    """
    _check.logits(student, "BCEKDLoss")
    _check.same_shape(student, teacher, where="BCEKDLoss", hint="both need the same classes")
    z_t = widen(teacher.detach())
    p = z_t.softmax(-1) if probabilities == "softmax" else z_t.sigmoid()
    return binary_values(student, p.to(widen(student).dtype), variant, kept)


class BCEKDLoss(LogitLoss):
    """Binary cross-entropy with the teacher. See :func:`binary_teacher_cross_entropy`.

    The mean over positions.

    Args:
        probabilities: ``"softmax"`` or ``"sigmoid"`` of the teacher's logits.
        variant: ``"mean"`` or ``"sum"`` over the classes.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> BCEKDLoss()
    BCEKDLoss(probabilities='softmax', variant='mean', ignore_index=-100)
    """

    name = "bce_kd"
    paper = "2305.15781"

    def __init__(
        self,
        *,
        probabilities: str = "softmax",
        variant: str = "mean",
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        label = "BCEKDLoss.probabilities"
        self.probabilities = _check.one_of(probabilities, PROBABILITIES, label)
        self.variant = _check.one_of(variant, VARIANTS, "BCEKDLoss.variant")

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the binary cross-entropy of each position, in nats."""
        return binary_teacher_cross_entropy(
            student, teacher, probabilities=self.probabilities, variant=self.variant, kept=kept
        )
