"""Schedules: optimiser step -> value, for the weight of a term or the temperature of a loss.

A schedule is any callable from an integer step to a float. Those here are frozen: one object can
serve several terms, and using it changes nothing in it. Their ``bounds`` let whoever takes one
check all its values at once.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from tutelage.errors import InputError


@dataclass(frozen=True)
class Constant:
    """The same value at every step.

    Args:
        value: The value.

    Raises:
        InputError: If it is not finite.
    """

    value: float

    def __post_init__(self) -> None:
        _check_values(self, self.value)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return self.value, self.value

    def __call__(self, step: int) -> float:
        """Return the value at ``step``."""
        return self.value


@dataclass(frozen=True)
class Linear:
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

    start: float
    end: float
    steps: int
    delay: int = 0

    def __post_init__(self) -> None:
        _check_values(self, self.start, self.end)
        _check_span(self)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return min(self.start, self.end), max(self.start, self.end)

    def __call__(self, step: int) -> float:
        """Return the value at ``step``."""
        p = _progress(self, step)
        return (1 - p) * self.start + p * self.end  # exact at both ends


@dataclass(frozen=True)
class Cosine:
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

    start: float
    end: float
    steps: int
    delay: int = 0

    def __post_init__(self) -> None:
        _check_values(self, self.start, self.end)
        _check_span(self)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return min(self.start, self.end), max(self.start, self.end)

    def __call__(self, step: int) -> float:
        """Return the value at ``step``."""
        wave = (1 + math.cos(math.pi * _progress(self, step))) / 2
        return wave * self.start + (1 - wave) * self.end  # exact at both ends


@dataclass(frozen=True)
class Piecewise:
    """Constant between boundaries: ``values[i]`` holds until step ``boundaries[i]``.

    Args:
        values: One value more than there are boundaries.
        boundaries: Optimiser steps in rising order.

    Raises:
        InputError: If a value is not finite, the counts do not match, or the boundaries do not
            rise.

    >>> [Piecewise((1.0, 0.0), (3,))(step) for step in (0, 2, 3)]
    [1.0, 1.0, 0.0]
    """

    values: tuple[float, ...]
    boundaries: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_values(self, *self.values)
        if len(self.values) != len(self.boundaries) + 1:
            raise InputError(
                f"Piecewise: expected one value more than boundaries, found {len(self.values)} "
                f"values and {len(self.boundaries)} boundaries"
            )
        if any(a >= b for a, b in pairwise(self.boundaries)):
            raise InputError(f"Piecewise: expected rising boundaries, found {self.boundaries}")

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value at any step from 0 on."""
        reached = self.values[sum(boundary <= 0 for boundary in self.boundaries) :]
        return min(reached), max(reached)

    def __call__(self, step: int) -> float:
        """Return the value at ``step``."""
        return self.values[sum(step >= boundary for boundary in self.boundaries)]


Schedule = Constant | Linear | Cosine | Piecewise


def index() -> dict[str, type[Schedule]]:
    """Return the schedules by the name that recipes use."""
    return {"constant": Constant, "linear": Linear, "cosine": Cosine, "piecewise": Piecewise}


def _progress(ramp: Linear | Cosine, step: int) -> float:
    return min(max((step - ramp.delay) / ramp.steps, 0.0), 1.0)


def _check_values(schedule: object, *values: float) -> None:
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        found = ", ".join(map(repr, values))
        raise InputError(f"{type(schedule).__name__}: expected finite numbers, found {found}")


def _check_span(ramp: Linear | Cosine) -> None:
    if ramp.steps < 1 or ramp.delay < 0:
        raise InputError(
            f"{type(ramp).__name__}: expected steps >= 1 and delay >= 0, "
            f"found steps={ramp.steps} and delay={ramp.delay}"
        )
