"""fasterai's schedules, over the fraction of the training that is behind."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastai.callback.schedule import sched_cos, sched_lin

from tutelage import _check
from tutelage.errors import InputError
from tutelage.schedules import Agp, Dsd, Iterative, OneCycle

Function = Callable[[float, float, float], float]
_POINTS = 1000


class Moment(int):
    """A step of a fit that also knows how much of the fit is behind, from 0 to 1.

    One call of :meth:`Distiller.set_step` so moves schedules over steps and over fractions.
    """

    progress: float

    def __new__(cls, step: int, progress: float) -> "Moment":
        """Return the step with its progress."""
        self = super().__new__(cls, step)
        self.progress = progress
        return self


@dataclass(frozen=True)
class Schedule:
    """A value that changes with the fraction of the training that is behind.

    ``start_val`` before ``start_pct``; then ``sched_func(start_val, end_val, pos)`` with ``pos``
    from 0 to 1 between ``start_pct`` and ``end_pct``; its value at 1 from there on. Frozen: one
    object serves many callbacks, as the callback's ``schedule`` or ``weight``, or the temperature
    of a loss: ``SoftTarget(T=Schedule(sched_cos, start_val=8, end_val=2))``.

    fasterai's ``changed``, ``after_step`` and ``reset`` are about pruning and left out.

    Args:
        sched_func: The value between two others: fastai's ``sched_cos`` and the like.
        start_pct: Fraction of the training at which it begins, from 0 to below ``end_pct``.
        end_pct: Fraction at which it ends, at most 1.
        start_val: Value at the start.
        end_val: Value to which ``sched_func`` leads.

    Raises:
        InputError: A number is not finite, or the fractions do not rise within 0 and 1.

    >>> [Schedule(sched_lin, start_pct=0.5).progress(pct) for pct in (0.0, 0.5, 0.75, 1.0)]
    [0.0, 0.0, 0.5, 1.0]
    """

    sched_func: Function
    start_pct: float = 0.0
    end_pct: float = 1.0
    start_val: float = 0.0
    end_val: float = 1.0

    def __post_init__(self) -> None:
        _check.finite(self.start_val, "Schedule.start_val")
        _check.finite(self.end_val, "Schedule.end_val")
        if not 0 <= self.start_pct < self.end_pct <= 1:
            raise InputError(
                f"Schedule: expected 0 <= start_pct < end_pct <= 1, found start_pct="
                f"{self.start_pct} and end_pct={self.end_pct}; fractions of the training, not "
                "percents"
            )

    def progress(self, pct_train: float) -> float:
        """Return the value where ``pct_train`` of the training is behind, from 0 to 1."""
        if pct_train < self.start_pct:
            return self.start_val
        if pct_train >= self.end_pct:
            return float(self.sched_func(self.start_val, self.end_val, 1.0))
        pos = (pct_train - self.start_pct) / (self.end_pct - self.start_pct)
        return float(self.sched_func(self.start_val, self.end_val, pos))

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value, looked up on a fine grid."""
        values = [self.progress(point / _POINTS) for point in range(_POINTS + 1)]
        return min(values), max(values)

    def __call__(self, step: int) -> float:
        """Return the value at a step of the callback, which knows how long the training is."""
        if isinstance(step, Moment):
            return self.progress(step.progress)
        if step == 0:
            return self.progress(0.0)
        raise InputError(
            f"Schedule: expected a step of KnowledgeDistillationCallback, found {step}; elsewhere "
            "the length of the training is not known: use one of tutelage.schedules, over steps"
        )

    def plot(self, target: float = 1.0, num_points: int = 1000, ax: Any = None) -> Any:
        """Draw the value over the training and return matplotlib's axes.

        Args:
            target: What the value is multiplied by: the weight of the callback.
            num_points: How many points to draw.
            ax: Axes to draw on; new ones by default.
        """
        from matplotlib import pyplot

        if ax is None:
            _, ax = pyplot.subplots()
        points = [point / (num_points - 1) for point in range(num_points)]
        ax.plot(points, [self.progress(point) * target for point in points])
        ax.set_xlabel("fraction of the training")
        ax.set_ylabel("value")
        return ax


def sched_oneshot(start: float, end: float, pos: float) -> float:
    """Return ``end``: the whole way at once, where a schedule begins."""
    return end


def sched_iterative(start: float, end: float, pos: float, n_steps: int = 3) -> float:
    """Return the value on one of ``n_steps`` equal stairs."""
    return Iterative(start, end, steps=1, rounds=n_steps).at(pos)


def sched_agp(start: float, end: float, pos: float) -> float:
    """Return ``end + (start - end) * (1 - pos)^3`` (automated gradual pruning, 1710.01878)."""
    return Agp(start, end, steps=1).at(pos)


def sched_onecycle(start: float, end: float, pos: float) -> float:
    """Return the value on a logistic curve from near ``start`` to ``end`` (2107.02086)."""
    return OneCycle(start, end, steps=1).at(pos)


def sched_dsd(start: float, end: float, pos: float) -> float:
    """Return the value on the way to ``end`` and back to ``start`` (1607.04381)."""
    return Dsd(start, end, steps=1).at(pos)


one_shot = Schedule(sched_oneshot, start_pct=0.5)
iterative = Schedule(sched_iterative, start_pct=0.2)
agp = Schedule(sched_agp, start_pct=0.2)
one_cycle = Schedule(sched_onecycle)
cos = Schedule(sched_cos)
lin = Schedule(sched_lin)
dsd = Schedule(sched_dsd)


def available_schedules() -> list[str]:
    """Return the names of the schedules that are ready to use.

    >>> available_schedules()
    ['one_shot', 'iterative', 'agp', 'one_cycle', 'cos', 'lin', 'dsd']
    """
    return ["one_shot", "iterative", "agp", "one_cycle", "cos", "lin", "dsd"]
