"""Numbers of a module that may follow a schedule over the optimiser steps."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from tutelage.errors import InputError

Schedule = Callable[[int], float]
Check = Callable[[float, str], float]


class Scheduled(nn.Module):
    """A module with numbers that are constant or move with the optimiser step.

    A number that moves lives in a 0-dim float64 buffer, so that moving it neither recompiles a
    compiled step nor waits for the device. It follows the module to a device but not to a dtype:
    ``module.half()`` may not round a temperature. A 0-dim tensor lowers or raises no other's dtype.

    A number is checked when the module is made, and no assignment may go past that check.
    """

    def __init__(self) -> None:
        super().__init__()
        self._schedules: dict[str, tuple[Schedule, Check, str]] = {}
        self._current: dict[str, float] = {}

    @property
    def is_scheduled(self) -> bool:
        """Whether any number of this module follows a schedule."""
        return bool(self._schedules)

    def set_step(self, step: int) -> None:
        """Move what is scheduled to its value at optimiser step ``step``.

        Raises:
            InputError: A value is outside its range.
        """
        for name, (schedule, check, label) in self._schedules.items():
            self._current[name] = check(schedule(step), label)
            getattr(self, name).fill_(self._current[name])

    def _hyper(
        self, name: str, value: float | Schedule, check: Check, label: str | None = None
    ) -> None:
        """Store a number: a checked float, or a buffer that follows a schedule.

        Args:
            name: The attribute to set.
            value: The number or its schedule. The extremes of a schedule that has ``bounds`` are
                checked at once; of any other callable only the value at step 0 is.
            check: Returns a legal value, or raises with the label.
            label: What messages call it. Default: ``Class.name``.
        """
        label = label or f"{type(self).__name__}.{name}"
        if not callable(value):
            setattr(self, name, check(value, label))
            self._current[name] = getattr(self, name)
            return
        for extreme in getattr(value, "bounds", ()):
            check(extreme, f"{label} under {value}")
        self._schedules[name] = (value, check, label)
        self._current[name] = check(value(0), label)
        start = torch.tensor(self._current[name], dtype=torch.float64)
        self.register_buffer(name, start, persistent=False)

    def _value(self, name: str) -> float | Tensor:
        """Return a number for one forward: moving the schedule before its backward is harmless."""
        value: float | Tensor = getattr(self, name)
        return value.clone() if isinstance(value, Tensor) else value

    def _number(self, name: str) -> float:
        """Return a number's value of this step as Python's, without asking the device."""
        value: float = self._current.get(name, getattr(self, name))
        return value

    def _shown(self, name: str) -> str:
        """Return a number as ``repr`` prints it: its value, or its schedule."""
        return repr(self._schedules[name][0] if name in self._schedules else getattr(self, name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__.get("_current", ()):
            raise InputError(
                f"{type(self).__name__}.{name}: expected a number that is given when this is made, "
                f"found a new one, {value!r}; make another, or give a schedule"
            )
        super().__setattr__(name, value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        kept = {name: self._buffers.pop(name) for name in self._schedules}
        try:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        finally:
            self._buffers.update(kept)
        for name, buffer in kept.items():
            assert buffer is not None
            device = fn(torch.zeros((), device=buffer.device)).device
            dtype = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
            self._buffers[name] = torch.tensor(self._current[name], dtype=dtype, device=device)
        return self
