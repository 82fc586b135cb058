"""What losses of a transformer's states are: those of padding tokens do not count."""

from abc import abstractmethod
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Loss
from tutelage.losses.reduction import drops_nothing, is_kept


class StateLoss(Loss):
    """Abstract root of the losses of a transformer's states, which have an axis of tokens.

    The target says which tokens count: an integer ``[B, N]`` that is ``ignore_index`` at the
    others, and anything else at those that do. A target of another shape, say classes ``[B]``,
    drops none.

    Args:
        ignore_index: What drops a token.
    """

    compares = "features"

    ignore_index: int

    def __init__(self, *, ignore_index: int = -100) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    @abstractmethod
    def compare(self, student: Any, teacher: Any, kept: Bool[Tensor, "B N"] | None) -> Tensor:
        """Return the loss over the tokens that count; the teacher has no gradient.

        Args:
            student: The student's tensor, or a sequence of them where ``takes_layers``.
            teacher: The teacher's.
            kept: Which tokens count; ``None`` for all. It fits the student's tokens.
        """

    def forward(self, student: Any, teacher: Any, target: Tensor | None = None) -> Tensor:
        """Return the loss over the tokens that ``target`` does not drop."""
        who = type(self).__name__
        teacher = _check.present(teacher, who, "the teacher's states", "add a teacher")
        if self.takes_layers:
            teacher = [layer.detach() for layer in teacher]
            return self.compare(
                student, teacher, kept_tokens(student[0], target, self.ignore_index)
            )
        return self.compare(
            student, teacher.detach(), kept_tokens(student, target, self.ignore_index)
        )


def kept_tokens(
    states: Tensor, target: Tensor | None, ignore_index: int
) -> Bool[Tensor, "B N"] | None:
    """Return which tokens of ``[B, N, D]`` or ``[B, heads, N, N]`` count; ``None`` for all."""
    if target is None or target.is_floating_point() or states.ndim < 3:
        return None
    if target.shape != (states.shape[0], states.shape[-2]) or drops_nothing(target, ignore_index):
        return None
    return is_kept(target, ignore_index)


def blank_tokens(
    states: Float[Tensor, "B N D"], kept: Bool[Tensor, "B N"] | None
) -> Float[Tensor, "B N D"]:
    """Return the states with zeros at dropped tokens, so that no NaN there can spread."""
    return states if kept is None else states.masked_fill(~kept.unsqueeze(-1), 0.0)
