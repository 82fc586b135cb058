"""Transformed teacher matching (Zheng and Yang, ICLR 2024, 2402.11148)."""

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.reduction import blank_dropped, expected


def transformed_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    power: float | Tensor = 0.1,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how far the student is from the teacher's transformed probabilities, in nats.

    .. math:: \mathrm{KL}(p^{(\gamma)} \,\|\, q), \qquad
        p^{(\gamma)}_c = \frac{p_c^\gamma}{\sum_k p_k^\gamma}, \quad q = \mathrm{softmax}(z^s)

    with p the teacher's softmax. :math:`p^{(\gamma)}` is the teacher at temperature
    :math:`1 / \gamma`; the student has none, so there is no :math:`T^2`, and what it learns is as
    soft as the target. Beside KD that adds a Renyi entropy of the student, which keeps it less
    certain. Soft targets are near uniform and the value is small: the paper weighs it with 45 on
    CIFAR.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape.
        power: :math:`\gamma` above 0; the paper has 0.1 on CIFAR. A 0-dim tensor when it is
            scheduled.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    A student with the teacher's logits, softened alike, is at the minimum:

    >>> import torch
    >>> teacher = torch.tensor([[1.0, 2.0, 4.0]])
    >>> transformed_divergence(teacher / 2, teacher, power=0.5)
    tensor([0.])
    """
    _check.logits(student, "TTMLoss")
    _check.same_shape(student, teacher, where="TTMLoss", hint="both need the same classes")
    log_q = widen(blank_dropped(student, kept)).log_softmax(-1)
    log_p = (widen(blank_dropped(teacher.detach(), kept)) * power).log_softmax(-1)
    values = expected(log_p.exp(), log_p - log_q)
    return values if kept is None else values.masked_fill(~kept, 0)


class TTMLoss(LogitLoss):
    """Divergence from the transformed teacher. See :func:`transformed_divergence`.

    The mean over positions.

    Args:
        power: Exponent of the teacher's probabilities above 0, or a schedule from the step to it.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> TTMLoss()
    TTMLoss(power=0.1, ignore_index=-100)
    """

    name = "ttm"
    paper = "2402.11148"

    power: float | Tensor

    def __init__(self, *, power: float | Schedule = 0.1, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("power", power, _check.positive)

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position, in nats."""
        return transformed_divergence(student, teacher, power=self._value("power"), kept=kept)
