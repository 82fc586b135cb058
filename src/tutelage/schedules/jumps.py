"""Ramps that jump: once, or in equal stairs."""

import math
from dataclasses import dataclass

from tutelage import _check
from tutelage.schedules.ramp import Ramp


@dataclass(frozen=True)
class OneShot(Ramp):
    """``start``, and from step ``delay + steps`` on ``end``: one jump.

    Args:
        start: Value before step ``delay + steps``.
        end: Value from step ``delay + steps`` on.
        steps: Optimiser steps until the jump, at least 1.
        delay: More steps before it.

    Raises:
        InputError: If a value is not finite, ``steps`` is below 1 or ``delay`` below 0.

    >>> [OneShot(0.0, 1.0, steps=3)(step) for step in (0, 2, 3)]
    [0.0, 0.0, 1.0]
    """

    def share(self, progress: float) -> float:
        """Return 0 below a progress of 1, and there 1."""
        return float(progress >= 1)


@dataclass(frozen=True)
class Iterative(Ramp):
    """From ``start`` to ``end`` in equal stairs.

    ``start + (end - start) * ceil(p * rounds) / rounds`` with ``p`` as in
    :class:`~tutelage.schedules.Linear`: the first stair is climbed by the first step.

    Args:
        start: Value up to step ``delay``.
        end: Value on the last stair, which ends at step ``delay + steps``.
        steps: Length of the whole in optimiser steps, at least 1.
        delay: Steps before it begins.
        rounds: How many stairs there are, at least 1.

    Raises:
        InputError: If a value is not finite, ``steps`` or ``rounds`` is below 1 or ``delay``
            below 0.

    >>> [Iterative(0.0, 3.0, steps=6)(step) for step in (0, 1, 2, 3, 5, 6)]
    [0.0, 1.0, 1.0, 2.0, 3.0, 3.0]
    """

    rounds: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        _check.count(self.rounds, "Iterative.rounds")

    def share(self, progress: float) -> float:
        """Return ``ceil(p * rounds) / rounds``."""
        # Rounded, since 0.1 * 30 is a little more than 3 and would climb a stair too early.
        return math.ceil(round(progress * self.rounds, 9)) / self.rounds
