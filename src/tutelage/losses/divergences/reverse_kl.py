"""Reverse KL divergence, from the student's side (Gu et al., MiniLLM, ICLR 2024, 2306.08543)."""

from typing import Unpack

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.losses.divergences.base import DivergenceLoss, Softening, kl, settled, softened


def reverse_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    temperature: float | Tensor = 1.0,
    scale_by_temperature: bool = True,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how much of the student lies where the teacher is not, in nats per position.

    .. math:: T^2 \, \mathrm{KL}(q \,\|\, p) = T^2 \sum_c q_c (\log q_c - \log p_c), \qquad
        p = \mathrm{softmax}(z^t / T), \quad q = \mathrm{softmax}(z^s / T)

    It makes the student leave out what it cannot hold, where the forward KL (KD's) makes it spread
    over all that the teacher has. MiniLLM minimises it over texts that the student samples; this is
    its value at one position, given the text. At least 0, and not bounded: infinite where the
    teacher rules out (``-inf``) a class that the student does not. It depends on the number of
    classes only through the distributions.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape, a constant.
        temperature: T above 0. A 0-dim tensor when it is scheduled.
        scale_by_temperature: Whether :math:`T^2` stands in front, as in KD. Codes for language
            models mostly leave it out: their value and gradient are smaller by :math:`T^2`.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    Swap the two sides and it is the forward KL:

    >>> import torch
    >>> from tutelage.losses.logits.kd import tempered_divergence
    >>> sure, unsure = torch.tensor([[0.0, 2.0]]), torch.zeros(1, 2)
    >>> reverse_divergence(sure, unsure) == tempered_divergence(unsure, sure, temperature=1.0)
    tensor([True])
    """
    log_q, log_p = softened(student, teacher, temperature, kept, "ReverseKLLoss")
    return settled(kl(log_q, log_p), temperature, scale_by_temperature, kept)


class ReverseKLLoss(DivergenceLoss):
    """KL from the student to the teacher, mean over positions. See :func:`reverse_divergence`.

    The forward KL, from the teacher to the student, is ``KDLoss``.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        scale_by_temperature: Whether the value is multiplied by T^2.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> ReverseKLLoss()
    ReverseKLLoss(temperature=1.0, scale_by_temperature=True, ignore_index=-100)
    """

    name = "reverse_kl"
    paper = "2306.08543"

    def measure(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        **softening: Unpack[Softening],
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position, in nats."""
        return reverse_divergence(student, teacher, **softening)
