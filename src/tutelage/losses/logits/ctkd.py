"""Curriculum temperature: KD with a learned temperature (Li et al., AAAI 2023, 2211.16231)."""

import math
from numbers import Real

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import InputError
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.kd import tempered_divergence
from tutelage.losses.reduction import blank_dropped


def learned_temperature(
    theta: Float[Tensor, "..."],
    *,
    start: float = 1.0,
    span: float = 20.0,
    reversal: float | Tensor = -1.0,
) -> Float[Tensor, ""]:
    r"""Return the temperature that one learned number stands for.

    .. math:: T = \mathrm{start} + \mathrm{span} \cdot \sigma(\theta), \qquad
        \frac{\partial}{\partial \theta} \to \lambda \frac{\partial}{\partial \theta}

    The value is exact; only the gradient that comes back to :math:`\theta` is scaled by
    :math:`\lambda`. With :math:`\lambda < 0` an optimiser that lowers the loss raises it by the
    temperature: student and temperature play against each other.

    Args:
        theta: The learned number, a tensor of one element.
        start: The lowest temperature, above 0 (paper: 1).
        span: What it can rise by, above 0 (paper: 20).
        reversal: :math:`\lambda`. 0 keeps the temperature, 1 is plain descent.

    >>> round(learned_temperature(torch.zeros(1)).item(), 4)
    11.0
    """
    theta = widen(theta.reshape(()))  # the square of a temperature may exceed float16
    held = theta.detach()
    return start + span * (held + reversal * (theta - held)).sigmoid()


def divergence_at_learned_temperature(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    temperature: Float[Tensor, ""],
    *,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure KD in nats per position, with a gradient to the temperature too.

    .. math:: T^2 \, \mathrm{KL}(\mathrm{softmax}(z^t / T) \,\|\, \mathrm{softmax}(z^s / T))

    A logit of ``-inf`` is taken for a very low finite one, since the derivative with respect to T
    multiplies it with a probability of 0.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape, a constant.
        temperature: T above 0, of one element.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
    >>> divergence_at_learned_temperature(logits, logits, torch.tensor(4.0))
    tensor([0.])
    """
    _check.logits(student, "CTKDLoss")
    _check.same_shape(student, teacher, where="CTKDLoss", hint="both need the same classes")
    lowest = torch.finfo(torch.float32).min / 4
    z_s, z_t = (
        blank_dropped(widen(logits), kept).clamp(min=lowest)
        for logits in (student, teacher.detach())
    )
    return tempered_divergence(z_s, z_t, temperature=temperature.reshape(()), kept=kept)


class CTKDLoss(LogitLoss):
    """KD with a temperature learned against it. See :func:`divergence_at_learned_temperature`.

    The temperature is one number for all samples (the paper's global form). It is a parameter of
    this loss, so the optimiser must hold it: ``distiller.parameters()`` does. The paper trains it
    with the student's learning rate and lets ``reversal`` fall along a cosine from 0 to -1 over
    the first 10 epochs: ``Cosine(0.0, -1.0, steps=10 * steps_per_epoch)``. The value depends on
    batch and number of classes as KD does: a mean over positions, about constant in C.

    Args:
        start: The lowest temperature, above 0.
        span: What it can rise by, above 0. It begins at ``start + 0.73 * span``, 15.6 by default.
        reversal: The factor of the gradient to the temperature, the paper's lambda; a number or a
            schedule from the optimiser step to it.
        ignore_index: Class index that drops a position, where class indices are given.

    Raises:
        InputError: ``start`` or ``span`` is not above 0, or ``reversal`` is not finite.

    >>> CTKDLoss()
    CTKDLoss(start=1.0, span=20.0, reversal=-1.0, ignore_index=-100)
    """

    name = "ctkd"
    paper = "2211.16231"

    start: float
    span: float
    reversal: float | Tensor
    theta: nn.Parameter

    def __init__(
        self,
        *,
        start: float = 1.0,
        span: float = 20.0,
        reversal: float | Schedule = -1.0,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self.start = _check.positive(start, "CTKDLoss.start")
        self.span = _check.positive(span, "CTKDLoss.span")
        self._hyper("reversal", reversal, _finite)
        self.theta = nn.Parameter(torch.ones(1))  # one axis: FSDP shards no scalars

    @property
    def temperature(self) -> Tensor:
        """The present temperature, a scalar without gradient."""
        return learned_temperature(self.theta.detach(), start=self.start, span=self.span)

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"] | None,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the loss of each position, in nats."""
        assert teacher is not None
        temperature = learned_temperature(
            self.theta, start=self.start, span=self.span, reversal=self._value("reversal")
        )
        return divergence_at_learned_temperature(student, teacher, temperature, kept=kept)


def _finite(value: float, name: str) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{name}: expected a finite number, at most 0 as a rule, found {value!r}")
    return float(value)
