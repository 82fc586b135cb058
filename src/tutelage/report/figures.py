"""Where dots and whiskers stand. Positions are percent of a row's width; the page draws them."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tutelage.report.words import decimal, interval, percent, points

Arm = Mapping[str, Any]

FAR = 4.0
"""An arm further away than this many widths of all others is off the scale, not the scale."""


@dataclass(frozen=True)
class Mark:
    """One row of a figure.

    Args:
        name: The arm.
        dots: Single seeds, in percent of the width.
        middle: The mean.
        whisker: Ends of the interval, or ``None``.
        label: The number in words.
        off: ``"left"`` or ``"right"`` if the row lies outside the scale.
    """

    name: str
    dots: list[float] = field(default_factory=list)
    middle: float | None = None
    whisker: tuple[float, float] | None = None
    label: str = ""
    off: str | None = None


@dataclass(frozen=True)
class Figure:
    """Rows over one horizontal axis.

    Args:
        marks: One row per arm.
        ticks: Position and words of each tick.
        line: Position and words of the reference line, if there is one.
    """

    marks: list[Mark]
    ticks: list[tuple[float, str]]
    line: tuple[float, str] | None = None


def deltas(arms: Sequence[Arm]) -> Figure | None:
    """Draw each arm's paired differences, their mean and its interval around the zero line."""
    compared = [arm for arm in arms if arm["delta"]]
    if not compared:
        return None
    extents = [_extent(arm["delta"], _differences(arm, arms)) for arm in compared]
    low, high = _scale(extents, keep=[arm["role"] != "control" for arm in compared], anchor=0.0)
    at = _position(low, high)
    marks = []
    for arm, extent in zip(compared, extents, strict=True):
        delta = arm["delta"]
        off = _off(extent, low, high)
        words = interval(delta["ci95"]) if delta["ci95"] else "one seed, no interval"
        ends = delta["ci95"]
        marks.append(
            Mark(
                name=arm["name"],
                dots=[] if off else [at(d) for d in _differences(arm, arms)],
                middle=None if off else at(delta["mean"]),
                whisker=None if off or not ends else (at(ends[0]), at(ends[1])),
                label=f"{points(delta['mean'])} ({words})",
                off=off,
            )
        )
    ticks = [(at(t), f"{100 * t:+g}" if t else "0") for t in _ticks(low, high)]
    return Figure(marks, ticks, (at(0.0), "the student alone"))


def strips(
    arms: Sequence[Arm],
    values: Callable[[Arm], Sequence[float | None]],
    line: tuple[float, str] | None = None,
    *,
    share: bool = False,
) -> Figure | None:
    """Draw one dot per seed and the mean of each arm.

    Args:
        arms: The arms, in the order of their rows.
        values: The numbers of an arm; ``None`` is left out.
        line: A reference value and its name, such as the teacher's accuracy.
        share: Whether the numbers are shares, worded in percent.
    """
    found = [(arm, [v for v in values(arm) if v is not None]) for arm in arms]
    found = [(arm, numbers) for arm, numbers in found if numbers]
    numbers_shown = sum(len(numbers) for _, numbers in found) + (line is not None)
    if numbers_shown < 2:
        return None  # one number on a scale of its own says less than the table
    extents = [(min(numbers), max(numbers)) for _, numbers in found]
    anchor = line[0] if line else None
    low, high = _scale(extents, [arm["role"] != "control" for arm, _ in found], anchor)
    at, label = _position(low, high), percent if share else decimal
    marks = []
    for (arm, numbers), extent in zip(found, extents, strict=True):
        off = _off(extent, low, high)
        mean = sum(numbers) / len(numbers)
        dots = [] if off else [at(v) for v in numbers]
        marks.append(Mark(arm["name"], dots, None if off else at(mean), None, label(mean), off))
    # Ticks are round: as many digits as they need, so that no two of them read alike.
    ticks = [(at(t), f"{100 * t:g}%" if share else f"{t:g}") for t in _ticks(low, high)]
    return Figure(marks, ticks, (at(line[0]), line[1]) if line else None)


def _differences(arm: Arm, arms: Sequence[Arm]) -> list[float]:
    baseline = next(other for other in arms if other["role"] == "baseline")
    mine = dict(zip(arm["seeds"], arm["values"], strict=True))
    theirs = dict(zip(baseline["seeds"], baseline["values"], strict=True))
    return [mine[seed] - theirs[seed] for seed in arm["delta"]["seeds"]]


def _extent(delta: Mapping[str, Any], dots: Iterable[float]) -> tuple[float, float]:
    seen = [delta["mean"], *(delta["ci95"] or ()), *dots]
    return min(seen), max(seen)


def _scale(
    extents: Sequence[tuple[float, float]], keep: Sequence[bool], anchor: float | None
) -> tuple[float, float]:
    """Return a scale on which all kept rows lie, and the others unless they are far away.

    A control with shuffled teacher logits collapses by 70 points; drawn to scale it would press
    a difference of four points into one pixel.
    """
    inside = [e for e, kept in zip(extents, keep, strict=True) if kept] or list(extents)
    low = min([e[0] for e in inside] + ([anchor] if anchor is not None else []))
    high = max([e[1] for e in inside] + ([anchor] if anchor is not None else []))
    reach = FAR * max(high - low, 0.01)
    near = [e for e in extents if low - reach <= e[0] and e[1] <= high + reach]
    low = min([low, *(e[0] for e in near)])
    high = max([high, *(e[1] for e in near)])
    margin = 0.06 * (high - low) or 0.01
    return low - margin, high + margin


def _position(low: float, high: float) -> Callable[[float], float]:
    return lambda value: round(100 * (value - low) / (high - low), 2)


def _off(extent: tuple[float, float], low: float, high: float) -> str | None:
    if extent[0] < low:
        return "left"
    return "right" if extent[1] > high else None


def _ticks(low: float, high: float) -> list[float]:
    """Return three to six round numbers between two ends."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    first = math.ceil(low / step)
    count = math.floor(high / step) - first + 1
    return [round((first + i) * step, 12) for i in range(count)]
