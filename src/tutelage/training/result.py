"""What comes out of a training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from tutelage.training.evaluation import Evaluation


@dataclass(frozen=True)
class Scores:
    """One student of a training, evaluated.

    Args:
        epoch: After how many epochs it was taken.
        validation: On the images held out of training.
        test: On the test images, which nothing was selected on.
    """

    epoch: int
    validation: Evaluation
    test: Evaluation

    def record(self) -> dict[str, Any]:
        """Return the scores as the run log holds them."""
        return {
            "epoch": self.epoch,
            "validation": self.validation.record(),
            "test": self.test.record(),
        }


@dataclass(frozen=True)
class Spent:
    """What an earlier stage has cost.

    Args:
        steps: Optimiser steps.
        seconds: Wall time of training and validation.
    """

    steps: int
    seconds: float


@dataclass(frozen=True)
class FitResult:
    """The outcome of :func:`tutelage.training.fit`.

    Args:
        last: The student after the last step.
        best: The student that was best on validation.
        kept: Which of the two was asked for.
        student: The kept student's state, on the CPU. It loads into the bare model, strictly.
        params: Number of the student's parameters.
        steps: Optimiser steps.
        seconds: Wall time of training and validation, without the final test.
    """

    last: Scores
    best: Scores
    kept: Literal["last", "best"]
    student: Mapping[str, Tensor]
    params: int
    steps: int
    seconds: float

    @property
    def scores(self) -> Scores:
        """The kept student's scores."""
        return self.best if self.kept == "best" else self.last

    def record(self) -> dict[str, Any]:
        """Return the result as the run log holds it, less the arm's name, role and seed."""
        return {
            "last": self.last.record(),
            "best": self.best.record(),
            "kept": self.kept,
            "params": self.params,
            "steps": self.steps,
            "seconds": self.seconds,
        }
