"""Adaptive KL: forward for the head, reverse for the tail (Wu et al., COLING 2025, 2404.02657)."""

from typing import Unpack

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule
from tutelage.losses.divergences.base import DivergenceLoss, Softening, kl, settled, softened
from tutelage.losses.reduction import weighted

VARIANTS = ("descending", "ascending")


def adaptive_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    threshold: float = 0.5,
    variant: str = "descending",
    temperature: float | Tensor = 1.0,
    scale_by_temperature: bool = True,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure both KLs, weighted by where the student is wrong, in nats per position.

    .. math:: T^2 \, \frac{g_h \, \mathrm{KL}(p \,\|\, q) + g_t \, \mathrm{KL}(q \,\|\, p)}
        {g_h + g_t}, \qquad
        g_h = \sum_{c \in \mathrm{head}} |p_c - q_c|, \quad
        g_t = \sum_{c \in \mathrm{tail}} |p_c - q_c|

    with the teacher's :math:`p = \mathrm{softmax}(z^t / T)` and the student's
    :math:`q = \mathrm{softmax}(z^s / T)`. The head are the teacher's likeliest classes, the tail
    all others. The gaps g are constants: no gradient flows through them, so that the gradient is
    not that of the value. Where both sides are equal it is 0. It jumps where the teacher's order of
    classes changes, and is infinite where the teacher rules out (``-inf``) a class that the student
    does not.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape, a constant.
        threshold: Share of the teacher's probability at which head and tail part, from 0 to 1; the
            paper uses 0.5.
        variant: ``"descending"``, as the authors do: the head are the likeliest classes whose sum
            is at most the threshold, and always the first. ``"ascending"``, as DSKD does: the tail
            are the least likely classes whose sum is at most the threshold. At 0.5 they differ in
            the class that crosses it, which here is of the tail and there of the head.
        temperature: T above 0. A 0-dim tensor when it is scheduled.
        scale_by_temperature: Whether :math:`T^2` stands in front, as in KD. Codes for language
            models mostly leave it out: their value and gradient are smaller by :math:`T^2`.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    A teacher sure of one class has no tail but what the student puts there:

    >>> import torch
    >>> adaptive_divergence(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]])) > 0
    tensor([True])
    """
    log_q, log_p = softened(student, teacher, temperature, kept, "AdaptiveKLLoss")
    head = _share_of_head(log_q.detach().exp(), log_p.exp(), threshold, variant)
    values = weighted(head, kl(log_p, log_q)) + weighted(1 - head, kl(log_q, log_p))
    return settled(values, temperature, scale_by_temperature, kept)


def _share_of_head(
    q: Float[Tensor, "*B C"], p: Float[Tensor, "*B C"], threshold: float, variant: str
) -> Float[Tensor, "*B"]:
    ordered, order = p.sort(-1, descending=variant == "descending")
    gaps = (p - q).abs().gather(-1, order)
    is_first = ordered.cumsum(-1) <= threshold  # the head where descending, else the tail
    if variant == "descending":
        is_first[..., 0] = True
    total = gaps.sum(-1)
    share = gaps.masked_fill(~is_first, 0.0).sum(-1) / total
    share = share.masked_fill(total == 0, 0.5)  # of equal sides: any share gives 0
    return share if variant == "descending" else 1 - share


class AdaptiveKLLoss(DivergenceLoss):
    """Both KLs, weighted by the student's errors. See :func:`adaptive_divergence`.

    Args:
        threshold: Share of the teacher's probability at which head and tail part, from 0 to 1.
        variant: ``"descending"`` or ``"ascending"``.
        temperature: T above 0, or a schedule from the optimiser step to it.
        scale_by_temperature: Whether the value is multiplied by T^2.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> AdaptiveKLLoss()  # doctest: +ELLIPSIS
    AdaptiveKLLoss(threshold=0.5, variant='descending', temperature=1.0, ...)
    """

    name = "adaptive_kl"
    paper = "2404.02657"

    threshold: float
    variant: str

    def __init__(
        self,
        *,
        threshold: float = 0.5,
        variant: str = "descending",
        temperature: float | Schedule = 1.0,
        scale_by_temperature: bool = True,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(
            temperature=temperature,
            scale_by_temperature=scale_by_temperature,
            ignore_index=ignore_index,
        )
        self.threshold = _check.fraction(threshold, "AdaptiveKLLoss.threshold")
        self.variant = _check.one_of(variant, VARIANTS, "AdaptiveKLLoss.variant")

    def measure(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        **softening: Unpack[Softening],
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position, in nats."""
        return adaptive_divergence(
            student, teacher, threshold=self.threshold, variant=self.variant, **softening
        )
