"""Learning curves out of the log: averaged over seeds, and thinned so that a report stays small."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from tutelage.report.readings import TEACHER_ARM, Readings, Record, number

MAX_POINTS = 500
"""Points of one curve at most."""
BUDGET = 24_000
"""Points of all curves together: about 170 kB of JSON."""
FEWEST = 16
"""A curve with fewer points shows nothing: then single seeds are left out instead."""

Series = dict[int, float | None]
"""Step -> value; ``None`` where the value was not finite."""
Read = Callable[[Record], float | None]


@dataclass(frozen=True)
class Curve:
    """One drawn line.

    Args:
        arm: The arm's name.
        seed: The seed, or ``None`` for the mean over seeds.
        x: Steps.
        y: Values; ``None`` is a gap.
    """

    arm: str
    seed: int | None
    x: list[int]
    y: list[float | None]


@dataclass(frozen=True)
class Panel:
    """One chart: one quantity for every arm that has it.

    Args:
        title: The quantity.
        unit: What is on the vertical axis: ``"nats"``-like text, or ``"%"``.
        curves: Means first, then single seeds.
    """

    title: str
    unit: str
    curves: list[Curve]


def panels(readings: Readings) -> list[Panel]:
    """Return the validation curves, the total loss, and one chart per part of the loss.

    A mean is taken over the seeds that logged a step; arms of one seed have the mean alone.
    Every curve has at most :data:`MAX_POINTS` points and all together about :data:`BUDGET`. A
    longer curve is cut into equal runs of points and each run averaged.
    """
    wanted: list[tuple[str, str, dict[str, dict[int, dict[int, Record]]], Read]] = [
        ("validation accuracy", "%", readings.epochs, _reader("validation", "accuracy")),
        ("validation NLL", "", readings.epochs, _reader("validation", "nll")),
        ("loss (weighted sum)", "", readings.steps, _reader("loss")),
    ]
    wanted += [
        (f"part: {part}", "", readings.steps, _reader("parts", part)) for part in _parts(readings)
    ]
    collected = [
        (title, unit, _collect(records, read, readings)) for title, unit, records, read in wanted
    ]
    means = sum(len(arms) for _, _, arms in collected)
    singles = sum(len(seeds) for _, _, arms in collected for seeds in arms.values())
    each = min(MAX_POINTS, BUDGET // max(1, means + singles))
    with_seeds = each >= FEWEST
    if not with_seeds:
        each = max(2, min(MAX_POINTS, BUDGET // max(1, means)))
    drawn = [Panel(title, unit, _draw(arms, each, with_seeds)) for title, unit, arms in collected]
    return [panel for panel in drawn if panel.curves]


def thin(series: Series, points: int) -> tuple[list[int], list[float | None]]:
    """Cut a series into at most ``points`` equal runs and average each.

    A run that holds a value that was not finite is a gap: an average would hide it.

    >>> thin({1: 1.0, 2: 3.0, 3: 5.0, 4: 7.0}, 2)
    ([2, 4], [2.0, 6.0])
    """
    steps = sorted(series)
    runs = min(points, len(steps))
    bounds = [len(steps) * i // runs for i in range(runs + 1)] if runs else [0]
    x, y = [], []
    for start, stop in pairwise(bounds):
        inside = steps[start:stop]
        x.append(inside[-1])
        y.append(_average([series[step] for step in inside]))
    return x, y


def _collect(
    records: dict[str, dict[int, dict[int, Record]]], read: Read, readings: Readings
) -> dict[str, dict[int, Series]]:
    """Read one quantity: arm -> seed -> series. The teacher's own training is left out."""
    collected: dict[str, dict[int, Series]] = {}
    for arm, by_seed in records.items():
        if arm == TEACHER_ARM and arm not in readings.arms:
            continue
        for seed, by_step in by_seed.items():
            series = {step: read(record) for step, record in by_step.items()}
            if any(value is not None for value in series.values()):
                collected.setdefault(arm, {})[seed] = series
    return collected


def _draw(arms: dict[str, dict[int, Series]], points: int, with_seeds: bool) -> list[Curve]:
    means = [Curve(arm, None, *_tidy(_mean(seeds), points)) for arm, seeds in arms.items()]
    if not with_seeds:
        return means
    return means + [
        Curve(arm, seed, *_tidy(series, points))
        for arm, seeds in arms.items()
        if len(seeds) > 1
        for seed, series in seeds.items()
    ]


def _mean(seeds: dict[int, Series]) -> Series:
    steps = sorted({step for series in seeds.values() for step in series})
    return {
        step: _average([series[step] for series in seeds.values() if step in series])
        for step in steps
    }


def _average(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if len(present) == len(values) else None


def _tidy(series: Series, points: int) -> tuple[list[int], list[float | None]]:
    x, y = thin(series, points)
    # Four digits are finer than a pixel and a third of the bytes.
    return x, [None if value is None else float(f"{value:.4g}") for value in y]


def _parts(readings: Readings) -> list[str]:
    names: dict[str, None] = {}
    for by_seed in readings.steps.values():
        for by_step in by_seed.values():
            for record in by_step.values():
                parts: Any = record.get("parts")
                names.update(dict.fromkeys(map(str, parts if isinstance(parts, dict) else ())))
    return list(names)


def _reader(*path: str) -> Read:
    return lambda record: number(record, *path)
