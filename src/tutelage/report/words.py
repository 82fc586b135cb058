"""How a report words numbers: accuracies in percent, differences in points, with their sign."""

from collections.abc import Mapping, Sequence
from typing import Any

MISSING = "-"
"""What stands where there is no number."""


def percent(value: float | None) -> str:
    """Word a fraction as a percentage.

    >>> percent(0.8734)
    '87.3%'
    """
    return MISSING if value is None else f"{100 * value:.1f}%"


def points(value: float | None) -> str:
    """Word a difference of fractions in percentage points, always signed.

    A second decimal appears where the first alone would print a difference as nothing.

    >>> points(0.04), points(-0.75), points(0.0002), points(0.0)
    ('+4.0', '-75.0', '+0.02', '+0.0')
    """
    if value is None:
        return MISSING
    text = f"{100 * value:+.1f}"
    if float(text) == 0:
        text = f"{100 * value:+.2f}" if value else "+0.0"
    return text


def spread(value: float | None) -> str:
    """Word a standard deviation of fractions in points, unsigned.

    >>> spread(0.0131)
    '1.3'
    """
    return MISSING if value is None else f"{100 * value:.1f}"


def interval(ends: Sequence[float] | None) -> str:
    """Word an interval of differences in points.

    >>> interval([0.034, 0.046])
    '+3.4 to +4.6'
    """
    return MISSING if ends is None else f"{points(ends[0])} to {points(ends[1])}"


def wins(delta: Mapping[str, Any] | None, unit: str = "") -> str:
    """Word how many seeds went the arm's way; ties are counted apart.

    >>> wins({"wins": 9, "ties": 1, "n": 10}, " seeds")
    '9 of 10 seeds, 1 tie'
    """
    if delta is None:
        return MISSING
    ties = delta["ties"]
    apart = f", {ties} tie{'s' if ties > 1 else ''}" if ties else ""
    return f"{delta['wins']} of {delta['n']}{unit}{apart}"


def decimal(value: float | None) -> str:
    """Word a number between 0 and 1 that is not an accuracy, such as a calibration error."""
    return MISSING if value is None else f"{value:.3f}"


def count(value: float | None) -> str:
    """Word a number of parameters.

    >>> count(17226), count(11_689_512)
    ('17.2 k', '11.7 M')
    """
    if value is None:
        return MISSING
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"


def duration(seconds: float | None) -> str:
    """Word a time.

    >>> duration(0.42), duration(75), duration(4000)
    ('0.4 s', '1 min 15 s', '1 h 7 min')
    """
    if seconds is None:
        return MISSING
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"
