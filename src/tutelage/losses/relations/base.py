"""What losses that compare samples with each other are: one value per batch."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import Loss, widen
from tutelage.losses.gather import gathered
from tutelage.signals import pooled


class RelationLoss(Loss):
    """Abstract root of the losses of how samples lie to each other.

    Widths may differ between student and teacher; the batch may not.

    Args:
        gather: Whether to compare the samples of all processes, so that the value and, under DDP,
            the gradient are those of one process with the whole batch. Without it each process
            compares its own samples, and the loss changes with their number. Only while training:
            under ``no_grad`` nothing is gathered, since one process may then be alone.

    Class attributes:
        pools: Whether maps and tokens are averaged to one vector for each sample first.
    """

    compares = "features"
    compares_samples = True
    pools: ClassVar[bool] = False

    gather: bool

    def __init__(self, *, gather: bool = True) -> None:
        super().__init__()
        self.gather = gather

    @abstractmethod
    def relate(
        self, student: Float[Tensor, "B *D"], teacher: Float[Tensor, "B *E"]
    ) -> Float[Tensor, ""]:
        """Return the loss of a batch of at least one sample, in float32 at least."""

    def forward(
        self, student: Tensor, teacher: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the loss of the batch; the target is not read."""
        who = type(self).__name__
        teacher = _check.present(teacher, who, "the teacher's features", "add a teacher").detach()
        if student.ndim < 2 or teacher.ndim < 2 or student.shape[0] != teacher.shape[0]:
            raise ShapeError(
                f"{who}: expected features [B, ...] of one batch, found student "
                f"{_check.shape(student)} vs teacher {_check.shape(teacher)}; use the same batch"
            )
        if self.pools:  # before they are sent to other processes
            student, teacher = pooled(widen(student)), pooled(widen(teacher))
        if self.gather:
            student, teacher = gathered(student), gathered(teacher)
        if not student.numel():
            return widen(student).sum()
        with torch.autocast(student.device.type, enabled=False):  # it would lower the products
            return self.relate(widen(student), widen(teacher))
