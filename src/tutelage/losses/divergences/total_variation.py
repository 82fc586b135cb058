"""Total variation distance (Wen et al., f-DISTILL, ACL 2023, 2307.15190)."""

from typing import Unpack

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.losses.divergences.base import DivergenceLoss, Softening, settled, softened


def total_variation(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    temperature: float | Tensor = 1.0,
    scale_by_temperature: bool = True,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how much probability would have to move from student to teacher at each position.

    .. math:: \frac{T^2}{2} \sum_c |p_c - q_c|, \qquad
        p = \mathrm{softmax}(z^t / T), \quad q = \mathrm{softmax}(z^s / T)

    A share of probability: from 0 to 1 at T = 1, symmetric, whatever the number of classes, and
    at most :math:`\sqrt{\mathrm{KL} / 2}`. Its gradient does not fade as the two come close, and
    is 0 where they are equal. As T grows it shrinks with T, not with :math:`T^2` as the smooth
    divergences do: :math:`T^2` makes it grow with T.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape, a constant.
        temperature: T above 0. A 0-dim tensor when it is scheduled.
        scale_by_temperature: Whether :math:`T^2` stands in front, as in DistillKit. Without it
            value and gradient are smaller by :math:`T^2`, as in other codes.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    From one half each to certainty, one half has to move:

    >>> import torch
    >>> total_variation(torch.zeros(1, 2), torch.tensor([[0.0, 1e4]]))
    tensor([0.5000])
    """
    log_q, log_p = softened(student, teacher, temperature, kept, "TotalVariationLoss")
    values = (log_p.exp() - log_q.exp()).abs().sum(-1) / 2
    return settled(values, temperature, scale_by_temperature, kept)


class TotalVariationLoss(DivergenceLoss):
    """Total variation distance, mean over positions. See :func:`total_variation`.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        scale_by_temperature: Whether the value is multiplied by T^2.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> TotalVariationLoss()
    TotalVariationLoss(temperature=1.0, scale_by_temperature=True, ignore_index=-100)
    """

    name = "total_variation"
    paper = "2307.15190"

    def measure(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        **softening: Unpack[Softening],
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position."""
        return total_variation(student, teacher, **softening)
