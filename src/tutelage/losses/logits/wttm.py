"""Weighted transformed teacher matching (Zheng and Yang, ICLR 2024, 2402.11148)."""

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.ttm import transformed_divergence
from tutelage.losses.reduction import blank_dropped


def weighted_transformed_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    power: float | Tensor = 0.1,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure TTM, weighing each position with how much its teacher spreads, in nats.

    .. math:: U_\gamma \, \mathrm{KL}(p^{(\gamma)} \,\|\, q), \qquad
        U_\gamma = \sum_c (p^t_c)^\gamma

    with :func:`~tutelage.losses.logits.ttm.transformed_divergence`. For
    :math:`\gamma < 1` the weight runs from 1 for a certain teacher to :math:`C^{1 - \gamma}` for
    an undecided one, so the value grows with the number of classes. It equals TTM at no power but
    :math:`\gamma = 1`.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape.
        power: :math:`\gamma` above 0; the paper has 0.1 on CIFAR. A 0-dim tensor when it is
            scheduled.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    An undecided teacher of four classes weighs ``4 ** 0.5`` at this power:

    >>> import torch
    >>> student, teacher = torch.tensor([[0.0, 0.0, 0.0, 1.0]]), torch.zeros(1, 4)
    >>> transformed_divergence(student, teacher, power=0.5)
    tensor([0.1074])
    >>> weighted_transformed_divergence(student, teacher, power=0.5)
    tensor([0.2147])
    """
    values = transformed_divergence(student, teacher, power=power, kept=kept)
    log_p = widen(blank_dropped(teacher.detach(), kept)).log_softmax(-1)
    return (power * log_p).logsumexp(-1).exp() * values


class WTTMLoss(LogitLoss):
    """TTM, weighted by the spread of the teacher. See :func:`weighted_transformed_divergence`.

    The mean over positions; the weights are not normalised.

    Args:
        power: Exponent of the teacher's probabilities above 0, or a schedule from the step to it.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> WTTMLoss()
    WTTMLoss(power=0.1, ignore_index=-100)
    """

    name = "wttm"
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
        """Return the weighted divergence of each position, in nats."""
        power = self._value("power")
        return weighted_transformed_divergence(student, teacher, power=power, kept=kept)
