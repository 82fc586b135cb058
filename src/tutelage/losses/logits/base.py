"""What most losses of logits are: one value per position, and the mean over those that count."""

from abc import abstractmethod
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Loss
from tutelage.losses.reduction import kept_positions, mean_of_kept


class LogitLoss(Loss):
    """Abstract root of the losses that give each position of the logits its own value.

    Args:
        ignore_index: Class index that drops a position, where class indices are given.
    """

    ignore_index: int

    def __init__(self, *, ignore_index: int = -100) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    @abstractmethod
    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Any,
        target: Any,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the loss of each position: 0 where ``kept`` is false, whatever stands there.

        Subclasses state ``teacher`` and ``target`` as tensors where they need them: ``forward``
        has then made sure of it.
        """

    def forward(
        self, student: Tensor, teacher: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Return the mean over the positions that ``target`` does not drop."""
        who = type(self).__name__
        if self.needs_teacher:
            teacher = _check.present(teacher, who, "the teacher's logits", "add a teacher").detach()
        if self.needs_target and target is None:
            raise _check.missing(
                who, "class targets, one for each position", "for unlabelled data use KDLoss"
            )
        kept = kept_positions(student, target, self.ignore_index)
        return mean_of_kept(self.values(student, teacher, target, kept), kept)
