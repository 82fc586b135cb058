"""What every loss is: ``(student, teacher, target=None) -> scalar``."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

Schedule = Callable[[int], float]


def widen(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or in float64 where it has it.

    >>> widen(torch.ones(1, dtype=torch.float16)).dtype
    torch.float32
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


class Loss(nn.Module, ABC):
    """Abstract root of the losses; subclasses are final.

    A loss knows no models, no layer names, no weight and no projection, and it changes nothing
    in eval mode. Half-precision inputs are widened to float32 and the value comes back so;
    float64 stays float64.

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

    def __init__(self) -> None:
        super().__init__()
        self._schedules: dict[str, tuple[Schedule, Callable[[float, str], float]]] = {}

    @abstractmethod
    def forward(
        self, student: Tensor, teacher: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the scalar loss, in nats unless the subclass says otherwise."""

    @property
    def is_scheduled(self) -> bool:
        """Whether any hyper-parameter of this loss follows a schedule."""
        return bool(self._schedules)

    def set_step(self, step: int) -> None:
        """Move scheduled hyper-parameters to their values at optimiser step ``step``."""
        for name, (schedule, check) in self._schedules.items():
            getattr(self, name).fill_(check(schedule(step), f"{type(self).__name__}.{name}"))

    def _shown(self, name: str) -> str:
        """Return a hyper-parameter as ``repr`` prints it: its value, or its schedule."""
        return repr(self._schedules[name][0] if name in self._schedules else getattr(self, name))

    def _hyper(
        self, name: str, value: float | Schedule, check: Callable[[float, str], float]
    ) -> None:
        """Store a hyper-parameter: a checked float, or a buffer that follows a schedule.

        A scheduled value lives in a tensor, so that moving it neither recompiles a compiled
        step nor waits for the device.
        """
        label = f"{type(self).__name__}.{name}"
        if callable(value):
            self._schedules[name] = (value, check)
            start = torch.tensor(check(value(0), label))
            self.register_buffer(name, start, persistent=False)
        else:
            setattr(self, name, check(value, label))
