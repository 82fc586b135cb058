"""Alpha divergence (Wang et al., AlphaNet, ICML 2021, 2102.07954)."""

from typing import Unpack

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule
from tutelage.losses.divergences.ab_divergence import divergence_of_powers
from tutelage.losses.divergences.base import DivergenceLoss, Softening, settled, softened


def alpha_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    alpha: float = 0.5,
    temperature: float | Tensor = 1.0,
    scale_by_temperature: bool = True,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how far the student is from the teacher, between the two KLs, at each position.

    .. math:: \frac{T^2}{\alpha (\alpha - 1)} \sum_c q_c \Bigl[
        \Bigl( \frac{p_c}{q_c} \Bigr)^\alpha - 1 \Bigr], \qquad
        p = \mathrm{softmax}(z^t / T), \quad q = \mathrm{softmax}(z^s / T)

    Its limits are the reverse KL at :math:`\alpha = 0` and the forward KL (KD's) at
    :math:`\alpha = 1`, and are taken there; 1/2 is twice the squared distance of the roots of p
    and q, and symmetric. From 0 to :math:`1 / (\alpha (1 - \alpha))` where :math:`\alpha` lies
    between 0 and 1 (at T = 1), whatever the number of classes and also with classes that one side
    rules out (``-inf``). Outside of that a negative :math:`\alpha` avoids what the teacher lacks,
    one above 1 covers what it has, both without bound: they can overflow. The paper takes the
    larger of :math:`\alpha = -1` and 1 for each sample and clips the ratio, which is not offered.
    It is the alpha-beta divergence at :math:`\beta = 1 - \alpha`.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape, a constant.
        alpha: :math:`\alpha`, any finite number. Nearer to 0 or 1 than 1e-3, but not there, it
            loses the digits of float32.
        temperature: T above 0. A 0-dim tensor when it is scheduled.
        scale_by_temperature: Whether :math:`T^2` stands in front, as in KD. Codes for language
            models mostly leave it out: their value and gradient are smaller by :math:`T^2`.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    Two that agree on nothing, at 1/2:

    >>> import torch
    >>> alpha_divergence(torch.tensor([[0.0, 1e4]]), torch.tensor([[1e4, 0.0]]))
    tensor([4.])
    """
    log_q, log_p = softened(student, teacher, temperature, kept, "AlphaDivergenceLoss")
    values = divergence_of_powers(log_q, log_p, alpha, 1 - alpha)
    return settled(values, temperature, scale_by_temperature, kept)


class AlphaDivergenceLoss(DivergenceLoss):
    """Alpha divergence, mean over positions. See :func:`alpha_divergence`.

    Args:
        alpha: Any finite number: 0 is the reverse KL, 1 the forward KL.
        temperature: T above 0, or a schedule from the optimiser step to it.
        scale_by_temperature: Whether the value is multiplied by T^2.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> AlphaDivergenceLoss()
    AlphaDivergenceLoss(alpha=0.5, temperature=1.0, scale_by_temperature=True, ignore_index=-100)
    """

    name = "alpha_divergence"
    paper = "2102.07954"

    alpha: float

    def __init__(
        self,
        *,
        alpha: float = 0.5,
        temperature: float | Schedule = 1.0,
        scale_by_temperature: bool = True,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(
            temperature=temperature,
            scale_by_temperature=scale_by_temperature,
            ignore_index=ignore_index,
        )
        self.alpha = _check.finite(alpha, "AlphaDivergenceLoss.alpha")

    def measure(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        **softening: Unpack[Softening],
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position."""
        return alpha_divergence(student, teacher, alpha=self.alpha, **softening)
