"""Schedules that stand still: always, or between boundaries."""

from dataclasses import dataclass
from itertools import pairwise

from tutelage.errors import InputError
from tutelage.schedules.ramp import check_values


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
        check_values(self, self.value)

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value."""
        return self.value, self.value

    def __call__(self, step: int) -> float:
        """Return the value at ``step``."""
        return self.value


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
        check_values(self, *self.values)
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
