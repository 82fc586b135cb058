"""Alpha-beta divergence (Wang et al., ABKD, ICML 2025, 2505.04560)."""

from math import inf
from typing import Unpack

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule
from tutelage.losses.divergences.base import DivergenceLoss, Softening, settled, softened
from tutelage.losses.reduction import weighted


def alpha_beta_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    alpha: float = 0.2,
    beta: float = 0.7,
    temperature: float | Tensor = 1.0,
    scale_by_temperature: bool = True,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how far the student is from the teacher, by powers of both, at each position.

    .. math:: -\frac{T^2}{\alpha \beta} \sum_c \Bigl[ p_c^\alpha q_c^\beta
        - \frac{\alpha}{\alpha + \beta} p_c^{\alpha + \beta}
        - \frac{\beta}{\alpha + \beta} q_c^{\alpha + \beta} \Bigr], \qquad
        p = \mathrm{softmax}(z^t / T), \quad q = \mathrm{softmax}(z^s / T)

    A larger :math:`\alpha` weighs the classes of large error more, a larger :math:`\beta` those of
    which the student is sure. Where the formula divides by 0 its limit is taken:
    :math:`\alpha = 1, \beta = 0` is the forward KL (KD's), :math:`\alpha = 0, \beta = 1` the
    reverse KL, :math:`\alpha = \beta = 0` half the sum of :math:`(\log p_c - \log q_c)^2`, and
    :math:`\alpha + \beta = 1` the alpha divergence. The limits have :math:`1 / \alpha^2` in front
    (:math:`1 / \beta^2` at :math:`\alpha = 0`) where the authors' code has the first power: theirs
    are these times :math:`\alpha` (or :math:`\beta`). JSD's :math:`\beta` is another.

    It is at least 0. It is bounded where both are above 0; else classes that one side rules out
    (``-inf``) may be infinitely far, or NaN. Below :math:`\alpha + \beta = 1` it grows with the
    number of classes C, at 0 in proportion to it. An exponent nearer to 0 than 1e-3, but not 0,
    loses the digits of float32.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape, a constant.
        alpha: :math:`\alpha`, the teacher's exponent; the paper uses 0.2 for instruction following.
        beta: :math:`\beta`, the student's exponent; the paper uses 0.7 there.
        temperature: T above 0. A 0-dim tensor when it is scheduled.
        scale_by_temperature: Whether :math:`T^2` stands in front, as in KD. Codes for language
            models mostly leave it out: their value and gradient are smaller by :math:`T^2`.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    At :math:`\alpha = \beta = 1` it is half the squared distance:

    >>> import torch
    >>> unlike = torch.tensor([[0.0, 1e4]]), torch.tensor([[1e4, 0.0]])
    >>> alpha_beta_divergence(*unlike, alpha=1.0, beta=1.0)
    tensor([1.])
    """
    log_q, log_p = softened(student, teacher, temperature, kept, "ABDivergenceLoss")
    values = divergence_of_powers(log_q, log_p, alpha, beta)
    return settled(values, temperature, scale_by_temperature, kept)


def divergence_of_powers(
    log_q: Float[Tensor, "*B C"], log_p: Float[Tensor, "*B C"], alpha: float, beta: float
) -> Float[Tensor, "*B"]:
    """Return the alpha-beta divergence of log-probabilities. See :func:`alpha_beta_divergence`."""
    in_neither = (log_p == -inf) & (log_q == -inf)
    log_p, log_q = (logs.masked_fill(in_neither, 0.0) for logs in (log_p, log_q))
    total = alpha + beta
    if alpha == beta == 0:
        return (log_p - log_q).square().sum(-1) / 2
    if beta == 0:
        return _of_one_power(log_p, log_q, alpha)
    if alpha == 0:
        return _of_one_power(log_q, log_p, beta)
    if total == 0:
        ratio = alpha * (log_p - log_q)
        return (ratio.expm1() - ratio).sum(-1) / alpha**2
    own = (alpha * (total * log_p).exp() + beta * (total * log_q).exp()) / total
    return (own - (alpha * log_p + beta * log_q).exp()).sum(-1) / (alpha * beta)


def _of_one_power(
    log_x: Float[Tensor, "*B C"], log_y: Float[Tensor, "*B C"], power: float
) -> Float[Tensor, "*B"]:
    """Return the sum of ``x^a log(x^a / y^a) - x^a + y^a``, over ``a^2``."""
    of_x = weighted((power * log_x).exp(), power * (log_x - log_y) - 1)
    return (of_x + (power * log_y).exp()).sum(-1) / power**2


class ABDivergenceLoss(DivergenceLoss):
    """Alpha-beta divergence, mean over positions. See :func:`alpha_beta_divergence`.

    Args:
        alpha: The teacher's exponent.
        beta: The student's exponent.
        temperature: T above 0, or a schedule from the optimiser step to it.
        scale_by_temperature: Whether the value is multiplied by T^2.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> ABDivergenceLoss()  # doctest: +ELLIPSIS
    ABDivergenceLoss(alpha=0.2, beta=0.7, temperature=1.0, scale_by_temperature=True, ...)
    """

    name = "ab_divergence"
    paper = "2505.04560"

    alpha: float
    beta: float

    def __init__(
        self,
        *,
        alpha: float = 0.2,
        beta: float = 0.7,
        temperature: float | Schedule = 1.0,
        scale_by_temperature: bool = True,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(
            temperature=temperature,
            scale_by_temperature=scale_by_temperature,
            ignore_index=ignore_index,
        )
        self.alpha = _check.finite(alpha, "ABDivergenceLoss.alpha")
        self.beta = _check.finite(beta, "ABDivergenceLoss.beta")

    def measure(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        **softening: Unpack[Softening],
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position."""
        return alpha_beta_divergence(
            student, teacher, alpha=self.alpha, beta=self.beta, **softening
        )
