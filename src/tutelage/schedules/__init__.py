"""Schedules: optimiser step -> value, for the weight of a term or the temperature of a loss.

A schedule is any callable from an integer step to a float. Those here are frozen: one object can
serve several terms, and using it changes nothing in it. Their ``bounds`` let whoever takes one
check all its values at once.
"""

from collections.abc import Callable

from tutelage.schedules.constant import Constant, Piecewise
from tutelage.schedules.jumps import Iterative, OneShot
from tutelage.schedules.ramp import Ramp
from tutelage.schedules.ramps import Agp, Cosine, Dsd, Linear, OneCycle

__all__ = [
    "Agp",
    "Constant",
    "Cosine",
    "Dsd",
    "Iterative",
    "Linear",
    "OneCycle",
    "OneShot",
    "Piecewise",
    "Ramp",
    "Schedule",
    "curve",
    "index",
]

Schedule = Constant | Piecewise | Ramp


def index() -> dict[str, type[Schedule]]:
    """Return the schedules by the name that recipes use."""
    return {
        "constant": Constant,
        "linear": Linear,
        "cosine": Cosine,
        "piecewise": Piecewise,
        "agp": Agp,
        "one_cycle": OneCycle,
        "iterative": Iterative,
        "one_shot": OneShot,
        "dsd": Dsd,
    }


def curve(schedule: Callable[[int], float], steps: int) -> list[float]:
    """Return the values of a schedule from step 0 to ``steps``, to print or to plot.

    >>> curve(Linear(0.0, 1.0, steps=2), 3)
    [0.0, 0.5, 1.0, 1.0]
    """
    return [schedule(step) for step in range(steps + 1)]
