"""What all ways from one value to another are: a share of the way, by the progress made."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from tutelage.errors import InputError


@dataclass(frozen=True)
class Ramp(ABC):
    """Abstract root of the ways from one value to another.

    ``(1 - f(p)) * start + f(p) * end`` with ``p = clip((step - delay) / steps, 0, 1)``. Subclasses
    say what share ``f(p)`` of the way is behind at progress ``p``.

    Args:
        start: Value before step ``delay``.
        end: Value where the whole way is behind.
        steps: Length of the ramp in optimiser steps, at least 1.
        delay: Steps before the ramp begins.

    Raises:
        InputError: If a value is not finite, ``steps`` is below 1 or ``delay`` below 0.
    """

    start: float
    end: float
    steps: int
    delay: int = 0

    def __post_init__(self) -> None:
        check_values(self, self.start, self.end)
        if self.steps < 1 or self.delay < 0:
            raise InputError(
                f"{type(self).__name__}: expected steps >= 1 and delay >= 0, "
                f"found steps={self.steps} and delay={self.delay}"
            )

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return min(self.start, self.end), max(self.start, self.end)

    @abstractmethod
    def share(self, progress: float) -> float:
        """Return the share of the way that is behind, at a progress from 0 to 1."""

    def __call__(self, step: int) -> float:
        """Return the value at ``step``."""
        if step < self.delay:
            return self.start
        return self.at(min((step - self.delay) / self.steps, 1.0))

    def at(self, progress: float) -> float:
        """Return the value at a progress from 0 to 1, whatever the steps."""
        share = self.share(progress)
        return (1 - share) * self.start + share * self.end  # exact at both ends


def check_values(schedule: object, *values: float) -> None:
    """Raise unless all values are finite numbers."""
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        found = ", ".join(map(repr, values))
        raise InputError(f"{type(schedule).__name__}: expected finite numbers, found {found}")
