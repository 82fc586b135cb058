"""What the divergences share: softened log-probabilities, safe ratios, the factor T^2."""

from abc import abstractmethod
from math import inf, log, log1p
from typing import TypedDict, Unpack

from jaxtyping import Bool, Float
from torch import Tensor, logaddexp

from tutelage import _check
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.reduction import blank_dropped, weighted


def softened(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    temperature: float | Tensor,
    kept: Bool[Tensor, "*B"] | None,
    who: str,
) -> tuple[Float[Tensor, "*B C"], Float[Tensor, "*B C"]]:
    """Return log q of the student and log p of the teacher at a temperature.

    The teacher's is a constant. At dropped positions both are uniform.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.
    """
    _check.logits(student, who)
    _check.same_shape(student, teacher, where=who, hint="both need the same classes")
    log_q, log_p = (
        (widen(blank_dropped(logits, kept)) / temperature).log_softmax(-1)
        for logits in (student, teacher.detach())
    )
    return log_q, log_p


def settled(
    values: Float[Tensor, "*B"],
    temperature: float | Tensor,
    scale_by_temperature: bool,
    kept: Bool[Tensor, "*B"] | None,
) -> Float[Tensor, "*B"]:
    """Return the values times T^2, if so asked, and 0 at dropped positions."""
    if scale_by_temperature:
        values = values * temperature**2
    return values if kept is None else values.masked_fill(~kept, 0.0)


def log_ratio(log_a: Float[Tensor, "*B C"], log_b: Float[Tensor, "*B C"]) -> Float[Tensor, "*B C"]:
    """Return ``log(a / b)``: 0 where both rule a class out, not NaN.

    >>> import torch
    >>> never = -torch.inf
    >>> log_ratio(torch.tensor([0.0, never, 0.0]), torch.tensor([-1.0, never, never]))
    tensor([1., 0., inf])
    """
    return (log_a - log_b).masked_fill_((log_a == -inf) & (log_b == -inf), 0.0)


def log_mixed(ratio: Float[Tensor, "*B C"], share: float) -> Float[Tensor, "*B C"]:
    """Return ``log((1 - share) + share * exp(ratio))``: of a mixture over one of its parts.

    Taken from the ratio it keeps its digits where the share is small, which a difference of two
    logarithms does not.

    Args:
        ratio: Log of the other part over this one; may be infinite.
        share: Share of the other part, above 0 and at most 1.
    """
    if share == 1:
        return ratio
    return logaddexp(ratio + log(share), ratio.new_full((), log1p(-share)))


def kl(log_a: Float[Tensor, "*B C"], log_b: Float[Tensor, "*B C"]) -> Float[Tensor, "*B"]:
    """Return KL(a || b) from log-probabilities: classes without mass in ``a`` add nothing."""
    return weighted(log_a.exp(), log_ratio(log_a, log_b)).sum(-1)


class Softening(TypedDict):
    """How the two sides are made distributions, and which positions count."""

    temperature: float | Tensor
    scale_by_temperature: bool
    kept: Bool[Tensor, "*B"] | None


class DivergenceLoss(LogitLoss):
    """Abstract root of the divergences between softened distributions.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it. Both sides are
            softened by it.
        scale_by_temperature: Whether the value is multiplied by T^2, as KD's is. Divergences
            that are smooth where both sides are equal shrink with T^2 as T grows; the factor
            keeps their size.
        ignore_index: Class index that drops a position, where class indices are given.
    """

    temperature: float | Tensor
    scale_by_temperature: bool

    def __init__(
        self,
        *,
        temperature: float | Schedule = 1.0,
        scale_by_temperature: bool = True,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("temperature", temperature, _check.positive)
        self.scale_by_temperature = scale_by_temperature

    @abstractmethod
    def measure(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        **softening: Unpack[Softening],
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position: 0 where it is dropped."""

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"] | None,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position; ``target`` is read only for what it drops."""
        assert teacher is not None
        return self.measure(
            student,
            teacher,
            temperature=self._value("temperature"),
            scale_by_temperature=self.scale_by_temperature,
            kept=kept,
        )
