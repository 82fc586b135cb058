"""Ramps that rise or fall smoothly: linear, cosine, cubic, logistic, and there and back."""

import math
from dataclasses import dataclass

from tutelage.schedules.ramp import Ramp


@dataclass(frozen=True)
class Linear(Ramp):
    """From ``start`` to ``end`` along a line, then constant.

    ``start + (end - start) * p`` with ``p = clip((step - delay) / steps, 0, 1)``. A warm-up is
    ``Linear(0.0, w, steps=n)``.

    Args:
        start: Value up to step ``delay``.
        end: Value from step ``delay + steps`` on.
        steps: Length of the ramp in optimiser steps, at least 1.
        delay: Steps before the ramp begins.

    Raises:
        InputError: If a value is not finite, ``steps`` is below 1 or ``delay`` below 0.

    >>> [Linear(0.0, 1.0, steps=4)(step) for step in (0, 1, 4, 9)]
    [0.0, 0.25, 1.0, 1.0]
    """

    def share(self, progress: float) -> float:
        """Return ``p``."""
        return progress


@dataclass(frozen=True)
class Cosine(Ramp):
    """From ``start`` to ``end`` along half a cosine, then constant.

    ``end + (start - end) * (1 + cos(pi * p)) / 2`` with ``p`` as in :class:`Linear`.

    Args:
        start: Value up to step ``delay``.
        end: Value from step ``delay + steps`` on.
        steps: Length of the ramp in optimiser steps, at least 1.
        delay: Steps before the ramp begins.

    Raises:
        InputError: If a value is not finite, ``steps`` is below 1 or ``delay`` below 0.

    >>> [round(Cosine(1.0, 0.0, steps=4)(step), 3) for step in (0, 2, 4)]
    [1.0, 0.5, 0.0]
    """

    def share(self, progress: float) -> float:
        """Return ``(1 - cos(pi * p)) / 2``."""
        return 1 - (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Agp(Ramp):
    """From ``start`` to ``end``, quickly at first and ever more slowly (1710.01878, equation 1).

    ``end + (start - end) * (1 - p)^3`` with ``p`` as in :class:`Linear`: the schedule of automated
    gradual pruning.

    Args:
        start: Value up to step ``delay``.
        end: Value from step ``delay + steps`` on.
        steps: Length of the ramp in optimiser steps, at least 1.
        delay: Steps before the ramp begins.

    Raises:
        InputError: If a value is not finite, ``steps`` is below 1 or ``delay`` below 0.

    >>> [Agp(0.0, 8.0, steps=4)(step) for step in (0, 2, 4)]
    [0.0, 7.0, 8.0]
    """

    def share(self, progress: float) -> float:
        """Return ``1 - (1 - p)^3``."""
        return 1.0 - (1.0 - progress) ** 3


@dataclass(frozen=True)
class OneCycle(Ramp):
    """From ``start`` to ``end`` along a logistic curve, most of it near the middle.

    ``start + (end - start) * (1 + exp(b - a)) / (1 + exp(b - a * p))`` with ``p`` as in
    :class:`Linear`, ``a = 14`` and ``b = 6`` (2107.02086). It reaches ``end`` exactly, and stands
    a quarter of a percent of the way above ``start`` when it begins.

    Args:
        start: Value before step ``delay``.
        end: Value from step ``delay + steps`` on.
        steps: Length of the ramp in optimiser steps, at least 1.
        delay: Steps before the ramp begins.

    Raises:
        InputError: If a value is not finite, ``steps`` is below 1 or ``delay`` below 0.

    >>> [round(OneCycle(0.0, 1.0, steps=4)(step), 4) for step in (0, 2, 4)]
    [0.0025, 0.7313, 1.0]
    """

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        first = self(0)
        return min(first, self.end), max(first, self.end)

    def share(self, progress: float) -> float:
        """Return ``(1 + exp(b - a)) / (1 + exp(b - a * p))``."""
        return (1 + math.exp(6 - 14)) / (1 + math.exp(6 - 14 * progress))


@dataclass(frozen=True)
class Dsd(Ramp):
    """From ``start`` to ``end`` and back, each way along half a cosine (1607.04381).

    ``start + (end - start) * (1 - cos(2 * pi * p)) / 2`` with ``p`` as in :class:`Linear`: the
    schedule of dense-sparse-dense training.

    Args:
        start: Value up to step ``delay``, and again from step ``delay + steps`` on.
        end: Value half-way, at step ``delay + steps / 2``.
        steps: Length of the way there and back in optimiser steps, at least 1.
        delay: Steps before it begins.

    Raises:
        InputError: If a value is not finite, ``steps`` is below 1 or ``delay`` below 0.

    >>> [round(Dsd(0.0, 1.0, steps=4)(step), 3) for step in (0, 1, 2, 3, 4)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def share(self, progress: float) -> float:
        """Return ``(1 - cos(2 * pi * p)) / 2``."""
        return (1 - math.cos(2 * math.pi * progress)) / 2
