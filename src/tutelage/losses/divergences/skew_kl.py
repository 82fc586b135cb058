"""KL divergences from a mixture of both sides (Ko et al., DistiLLM, ICML 2024, 2402.03898)."""

from typing import Unpack

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import InputError
from tutelage.losses.base import Schedule
from tutelage.losses.divergences.base import (
    DivergenceLoss,
    Softening,
    log_mixed,
    log_ratio,
    settled,
    softened,
)
from tutelage.losses.reduction import weighted

DIRECTIONS = ("forward", "reverse")


def skew_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    skew: float = 0.1,
    direction: str = "forward",
    detach_mixture: bool = False,
    temperature: float | Tensor = 1.0,
    scale_by_temperature: bool = True,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how far one side is from a mixture of both, in nats per position.

    .. math:: T^2 \, \mathrm{KL}(p \,\|\, \lambda p + (1 - \lambda) q)
        \qquad \text{or, reverse,} \qquad
        T^2 \, \mathrm{KL}(q \,\|\, \lambda q + (1 - \lambda) p)

    with the teacher's :math:`p = \mathrm{softmax}(z^t / T)` and the student's
    :math:`q = \mathrm{softmax}(z^s / T)`. The mixture is never without mass where the other side
    has some, so at T = 1 the value is from 0 to :math:`-\log \lambda` (2.30 at 0.1) and its
    gradient is bounded, with classes that one side rules out (``-inf``) too. At
    :math:`\lambda = 0` it is the plain KL: KD's forward, ``ReverseKLLoss`` reverse.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape, a constant.
        skew: :math:`\lambda`, the share of the measured side in the mixture, from 0 to below 1;
            the paper uses 0.1.
        direction: ``"forward"`` measures the teacher, ``"reverse"`` the student. DistiLLM's first
            code gives the forward form as a cross-entropy: larger by :math:`T^2` times the
            entropy of p, with the same gradient.
        detach_mixture: Whether the student within the mixture is a constant, as in DistiLLM-2's
            code of the reverse form: the same value, another gradient. Only the reverse form has
            a gradient then. The paper's and the first code's gradient flows through both.
        temperature: T above 0. A 0-dim tensor when it is scheduled.
        scale_by_temperature: Whether :math:`T^2` stands in front, as in KD. Codes for language
            models mostly leave it out: their value and gradient are smaller by :math:`T^2`.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    Two that agree on nothing are only log 10 apart:

    >>> import torch
    >>> skew_divergence(torch.tensor([[0.0, 1e4]]), torch.tensor([[1e4, 0.0]]))
    tensor([2.3026])
    """
    log_q, log_p = softened(student, teacher, temperature, kept, "SkewKLLoss")
    log_own, log_other = (log_p, log_q) if direction == "forward" else (log_q, log_p)
    mixture = log_mixed(log_ratio(log_other, log_own), 1 - skew)  # log of it over the measured side
    if detach_mixture:
        # Of q log(q / m) with m fixed, the gradient of log q sums to 0 over the classes.
        mixture = mixture.detach()
    values = -weighted(log_own.exp(), mixture).sum(-1)
    return settled(values, temperature, scale_by_temperature, kept)


class SkewKLLoss(DivergenceLoss):
    """KL from a mixture of both sides, mean over positions. See :func:`skew_divergence`.

    Args:
        skew: Share of the measured side in the mixture, from 0 to below 1.
        direction: ``"forward"`` measures the teacher, ``"reverse"`` the student.
        detach_mixture: Whether the student within the mixture is a constant; reverse only.
        temperature: T above 0, or a schedule from the optimiser step to it.
        scale_by_temperature: Whether the value is multiplied by T^2.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> SkewKLLoss(direction="reverse")  # doctest: +ELLIPSIS
    SkewKLLoss(skew=0.1, direction='reverse', detach_mixture=False, temperature=1.0, ...)
    """

    name = "skew_kl"
    paper = "2402.03898"

    skew: float
    direction: str
    detach_mixture: bool

    def __init__(
        self,
        *,
        skew: float = 0.1,
        direction: str = "forward",
        detach_mixture: bool = False,
        temperature: float | Schedule = 1.0,
        scale_by_temperature: bool = True,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(
            temperature=temperature,
            scale_by_temperature=scale_by_temperature,
            ignore_index=ignore_index,
        )
        self.direction = _check.one_of(direction, DIRECTIONS, "SkewKLLoss.direction")
        self.skew = _check.fraction(skew, "SkewKLLoss.skew")
        if self.skew == 1:
            raise InputError(
                f"SkewKLLoss.skew: expected a number from 0 to below 1, found {skew!r}, where the "
                "loss is 0 for every student; the paper uses 0.1"
            )
        if detach_mixture and direction == "forward":
            raise InputError(
                "SkewKLLoss.detach_mixture: expected False for the forward direction, found True, "
                "where nothing would learn; use direction='reverse'"
            )
        self.detach_mixture = detach_mixture

    def measure(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        **softening: Unpack[Softening],
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position, in nats."""
        return skew_divergence(
            student,
            teacher,
            skew=self.skew,
            direction=self.direction,
            detach_mixture=self.detach_mixture,
            **softening,
        )
