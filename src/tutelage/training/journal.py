"""What a training tells about itself while it runs: lines of the run log, and messages."""

from collections.abc import Callable
from dataclasses import dataclass

from tutelage.runs import RunFolder
from tutelage.training.evaluation import Evaluation

OnProgress = Callable[[int, int, int, str], None]
"""Called with the epoch (from 1), the optimiser steps done, their total, and a short message."""


@dataclass(frozen=True)
class Journal:
    """Writes the log of one arm and seed.

    Args:
        run: Where to; ``None`` writes nothing.
        arm: Name of the training.
        seed: Its seed.
        total: Optimiser steps of the whole training.
        every: Optimiser steps between two lines.
        progress: Who else is told.
    """

    run: RunFolder | None
    arm: str
    seed: int
    total: int
    every: int
    progress: OnProgress | None

    def step(self, epoch: int, step: int, values: dict[str, float], lr: float) -> None:
        """Tell about one optimiser step: ``values`` holds ``"loss"`` and each unweighted part."""
        parts = dict(values)
        loss = parts.pop("loss")
        self._write("step", step=step, epoch=epoch, loss=loss, parts=parts, lr=lr)
        self._tell(epoch, step, f"loss {loss:.4g}")

    def validation(self, epoch: int, step: int, found: Evaluation) -> None:
        """Tell about one validation."""
        scores = {"accuracy": found.accuracy, "nll": found.nll}
        self._write("epoch", step=step, epoch=epoch, validation=scores)
        self._tell(epoch, step, f"validation accuracy {found.accuracy:.1%}")

    def _write(self, kind: str, **values: object) -> None:
        if self.run is not None:
            self.run.log({"kind": kind, "arm": self.arm, "seed": self.seed, **values})

    def _tell(self, epoch: int, step: int, message: str) -> None:
        if self.progress is not None:
            self.progress(epoch, step, self.total, message)
