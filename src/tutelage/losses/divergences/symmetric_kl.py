"""Forward and reverse KL together: the divergence of Jeffreys, 1946 (Proc. R. Soc. A 186)."""

from typing import Unpack

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule
from tutelage.losses.divergences.base import DivergenceLoss, Softening, kl, settled, softened


def symmetric_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    reverse_weight: float = 0.5,
    temperature: float | Tensor = 1.0,
    scale_by_temperature: bool = True,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure the forward and the reverse KL in one, in nats per position.

    .. math:: T^2 \, [(1 - w) \, \mathrm{KL}(p \,\|\, q) + w \, \mathrm{KL}(q \,\|\, p)], \qquad
        p = \mathrm{softmax}(z^t / T), \quad q = \mathrm{softmax}(z^s / T)

    Symmetric at w = 1/2, where it is half of Jeffreys' divergence, the plain sum. At least 0 and
    not bounded: with any w above 0 it is infinite where the teacher rules out (``-inf``) a class
    that the student does not.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape, a constant.
        reverse_weight: w, the weight of the reverse KL, from 0 (KD's divergence) to 1
            (``ReverseKLLoss``). DistiLLM's code takes 0.9, and gives the forward part as a
            cross-entropy: larger by :math:`1 - w` times the entropy of p, with the same gradient.
        temperature: T above 0. A 0-dim tensor when it is scheduled.
        scale_by_temperature: Whether :math:`T^2` stands in front, as in KD. Codes for language
            models mostly leave it out: their value and gradient are smaller by :math:`T^2`.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    The order of the sides does not count:

    >>> import torch
    >>> sure, unsure = torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2)
    >>> symmetric_divergence(sure, unsure) == symmetric_divergence(unsure, sure)
    tensor([True])
    """
    log_q, log_p = softened(student, teacher, temperature, kept, "SymmetricKLLoss")
    values = log_q.new_zeros(log_q.shape[:-1])
    if reverse_weight < 1:
        values = values + (1 - reverse_weight) * kl(log_p, log_q)
    if reverse_weight > 0:  # 0 times an infinite KL is not 0
        values = values + reverse_weight * kl(log_q, log_p)
    return settled(values, temperature, scale_by_temperature, kept)


class SymmetricKLLoss(DivergenceLoss):
    """Forward and reverse KL, mean over positions. See :func:`symmetric_divergence`.

    Args:
        reverse_weight: Weight of the reverse KL, from 0 to 1; the forward KL has the rest.
        temperature: T above 0, or a schedule from the optimiser step to it.
        scale_by_temperature: Whether the value is multiplied by T^2.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> SymmetricKLLoss()  # doctest: +ELLIPSIS
    SymmetricKLLoss(reverse_weight=0.5, temperature=1.0, scale_by_temperature=True, ...)
    """

    name = "symmetric_kl"
    paper = "Jeffreys, 1946"

    reverse_weight: float

    def __init__(
        self,
        *,
        reverse_weight: float = 0.5,
        temperature: float | Schedule = 1.0,
        scale_by_temperature: bool = True,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(
            temperature=temperature,
            scale_by_temperature=scale_by_temperature,
            ignore_index=ignore_index,
        )
        self.reverse_weight = _check.fraction(reverse_weight, "SymmetricKLLoss.reverse_weight")

    def measure(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        **softening: Unpack[Softening],
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position, in nats."""
        return symmetric_divergence(
            student, teacher, reverse_weight=self.reverse_weight, **softening
        )
