"""What every loss is: ``(student, teacher, target=None) -> scalar``."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tutelage.losses.scheduled import Schedule as Schedule
from tutelage.losses.scheduled import Scheduled


def widen(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or in float64 where it has it.

    >>> widen(torch.ones(1, dtype=torch.float16)).dtype
    torch.float32
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


class Loss(Scheduled, ABC):
    """Abstract root of the losses; subclasses are final.

    A loss knows no models, no layer names, no weight and no projection, and it changes nothing
    in eval mode. Half-precision inputs are widened to float32 and the value comes back so;
    float64 stays float64. An empty batch, and one of which every position is dropped, costs 0
    with its graph. What stands at a dropped position counts nothing, be it NaN.

    Class attributes:
        name: Its name in recipes and lists.
        paper: arXiv id of its source, or a short citation where there is none.
        compares: ``"logits"`` or ``"features"``: which signals it is meant for.
        needs_teacher: Whether it reads the teacher's tensor.
        needs_target: Whether it is undefined without ``target``.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    compares: ClassVar[Literal["logits", "features"]] = "logits"
    needs_teacher: ClassVar[bool] = True
    needs_target: ClassVar[bool] = False

    @abstractmethod
    def forward(
        self, student: Tensor, teacher: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the scalar loss, in nats unless the subclass says otherwise."""
