"""How far a training is: its counters, and the student that it has selected so far."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.training.evaluation import Evaluation


@dataclass
class Progress:
    """The counters of one training and its best student so far.

    Args:
        epoch: Epochs done.
        step: Optimiser steps done.
        validated_at: Step of the latest validation.
        validation: The latest validation.
        best_epoch: Epoch, from 1, after which ``best`` was found.
        best_validation: Its validation.
        best: A copy of the best student's state, on the CPU.
        earlier_seconds: Time spent before a resumption.
    """

    epoch: int = 0
    step: int = 0
    validated_at: int = 0
    validation: Evaluation | None = None
    best_epoch: int = 0
    best_validation: Evaluation | None = None
    best: dict[str, Tensor] | None = None
    earlier_seconds: float = 0.0
    _started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, with what came before a resumption."""
        return self.earlier_seconds + time.perf_counter() - self._started

    def select(self, validation: Evaluation, student: nn.Module) -> None:
        """Take note of a validation, and keep a copy of the student if it is the best so far.

        More accurate is better; at equal accuracy a lower NLL; at equal both, the earlier one.
        """
        self.validation, self.validated_at = validation, self.step
        best = self.best_validation
        if best is None or (validation.accuracy, -validation.nll) > (best.accuracy, -best.nll):
            self.best_epoch, self.best_validation = self.epoch, validation
            self.best = copy_state(student)

    def to_state(self) -> dict[str, Any]:
        """Return all but the best student's tensors as numbers."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "validated_at": self.validated_at,
            "validation": self.validation.record() if self.validation else None,
            "best_epoch": self.best_epoch,
            "best_validation": self.best_validation.record() if self.best_validation else None,
            "seconds": self.seconds,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], best: dict[str, Tensor] | None) -> "Progress":
        """Return the progress that :meth:`to_state` wrote."""
        numbers = dict(state)
        seconds = numbers.pop("seconds")
        for name in ("validation", "best_validation"):
            numbers[name] = Evaluation(**numbers[name]) if numbers[name] else None
        return cls(**numbers, best=best, earlier_seconds=seconds)


@torch.no_grad()
def copy_state(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a module's state on the CPU, which later steps do not move."""
    return {
        name: value.detach().to("cpu", copy=True) for name, value in module.state_dict().items()
    }
