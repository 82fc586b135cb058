"""Generalised Jensen-Shannon divergence (Agarwal et al., GKD, ICLR 2024, 2306.13649)."""

from math import log
from typing import Unpack

from jaxtyping import Bool, Float
from torch import Tensor, logaddexp

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

VARIANTS = ("raw", "scaled")


def jensen_shannon_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    beta: float = 0.5,
    variant: str = "raw",
    eps: float = 0.0,
    temperature: float | Tensor = 1.0,
    scale_by_temperature: bool = True,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how far both sides are from their mixture, in nats per position.

    .. math:: T^2 \, [\beta \, \mathrm{KL}(p \,\|\, m) + (1 - \beta) \, \mathrm{KL}(q \,\|\, m)],
        \qquad m = \beta p + (1 - \beta) q

    with the teacher's :math:`p = \mathrm{softmax}(z^t / T)` and the student's
    :math:`q = \mathrm{softmax}(z^s / T)` (equation 1 of the paper). :math:`\beta` is the weight of
    the *teacher*; DistiLLM's ``lam`` is that of the student, :math:`1 - \beta`. Classes that one
    side or both rule out (``-inf``) cost nothing special: at T = 1 it is at most
    :math:`-\beta \log \beta - (1 - \beta) \log (1 - \beta)`, log 2 at :math:`\beta = 1/2`, where
    it is symmetric.

    The raw form shrinks to 0 as :math:`\beta` nears 0 or 1: at 0.001 it is about a thousandth of
    a KL. The scaled form is larger by :math:`1 / (\beta (1 - \beta))`, 4 at :math:`\beta = 1/2`,
    and tends to the forward KL (KD's) at 0 and to the reverse KL at 1, which it is there. TRL
    computes the raw form, but at 0 and 1 the two KLs, so that a sweep over its ``beta`` jumps a
    thousandfold: for its numbers take ``"scaled"`` at 0 and 1 and ``"raw"`` between.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape, a constant.
        beta: :math:`\beta`, the teacher's share of the mixture, from 0 to 1; the paper uses 0.1,
            0.5 and 0.9. At 0 and 1 the raw form is 0 for every student.
        variant: ``"raw"`` or ``"scaled"``.
        eps: What each logarithm adds to its probability. None is needed; DSKD's code adds 1e-9,
            which moves the gradient of classes of such a probability.
        temperature: T above 0. A 0-dim tensor when it is scheduled.
        scale_by_temperature: Whether :math:`T^2` stands in front, as in KD. Codes for language
            models mostly leave it out: their value and gradient are smaller by :math:`T^2`.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    Two that agree on nothing are log 2 apart:

    >>> import torch
    >>> jensen_shannon_divergence(torch.tensor([[0.0, 1e4]]), torch.tensor([[1e4, 0.0]]))
    tensor([0.6931])
    """
    log_q, log_p = softened(student, teacher, temperature, kept, "JSDLoss")
    ratio = log_ratio(*(_raised(logs, eps) for logs in (log_p, log_q)))
    # The mixture over one side comes from the ratio of the sides: log m - log q would lose its
    # digits where beta is small, just where the scaled form divides by it.
    values = log_q.new_zeros(log_q.shape[:-1])
    if beta < 1:
        values = values - weighted(log_p.exp(), log_mixed(-ratio, 1 - beta)).sum(-1) / (1 - beta)
    if beta > 0:
        values = values - weighted(log_q.exp(), log_mixed(ratio, beta)).sum(-1) / beta
    if variant == "raw":
        values = values * (beta * (1 - beta))
    return settled(values, temperature, scale_by_temperature, kept)


def _raised(logs: Float[Tensor, "*B C"], eps: float) -> Float[Tensor, "*B C"]:
    return logaddexp(logs, logs.new_full((), log(eps))) if eps else logs


class JSDLoss(DivergenceLoss):
    """Jensen-Shannon divergence, mean over positions. See :func:`jensen_shannon_divergence`.

    Args:
        beta: The teacher's share of the mixture, from 0 to 1; 0 and 1 only where scaled.
        variant: ``"raw"`` or ``"scaled"``.
        eps: What each logarithm adds to its probability, at least 0.
        temperature: T above 0, or a schedule from the optimiser step to it.
        scale_by_temperature: Whether the value is multiplied by T^2.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> import torch
    >>> JSDLoss(beta=0.0, variant="scaled")(torch.zeros(1, 2), torch.tensor([[0.0, 1e4]]))  # log 2
    tensor(0.6931)
    """

    name = "jsd"
    paper = "2306.13649"

    beta: float
    variant: str
    eps: float

    def __init__(
        self,
        *,
        beta: float = 0.5,
        variant: str = "raw",
        eps: float = 0.0,
        temperature: float | Schedule = 1.0,
        scale_by_temperature: bool = True,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(
            temperature=temperature,
            scale_by_temperature=scale_by_temperature,
            ignore_index=ignore_index,
        )
        self.variant = _check.one_of(variant, VARIANTS, "JSDLoss.variant")
        self.eps = _check.non_negative(eps, "JSDLoss.eps")
        self.beta = _check.fraction(beta, "JSDLoss.beta")
        if variant == "raw" and self.beta in (0, 1):
            raise InputError(
                f"JSDLoss.beta: expected a number between 0 and 1 for the raw variant, found "
                f"{beta!r}, where it is 0 for every student; use variant='scaled', which is the "
                "forward KL at 0 and the reverse KL at 1"
            )

    def measure(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        **softening: Unpack[Softening],
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position, in nats."""
        return jensen_shannon_divergence(
            student, teacher, beta=self.beta, variant=self.variant, eps=self.eps, **softening
        )
