"""The result table, as text: for the terminal and for logs."""

from collections.abc import Mapping
from typing import Any

from tutelage.report.safe import visible
from tutelage.report.words import MISSING, count, decimal, duration, interval, percent, points
from tutelage.report.words import spread as sd
from tutelage.report.words import wins as won

COLUMNS = (
    "arm",
    "role",
    "seeds",
    "accuracy",
    "sd",
    "delta",
    "95% CI",
    "wins",
    "agreement",
    "ECE",
    "params",
    "time",
)
"""Headings of :func:`rows`. ``sd``, ``delta`` and its interval are in percentage points."""

_LEFT = 2


def rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return one row of words per arm (baseline, methods, controls, all of them), then teachers.

    Names are made safe to print: control characters are spelled out, long names clipped.

    Args:
        results: What :func:`tutelage.report.build_results` gives.
    """
    return [_arm(arm) for arm in results["arms"]] + [_teacher(t) for t in results["teachers"]]


def text_table(results: Mapping[str, Any], *, width: int = 32) -> str:
    """Return the table in monospace, names clipped to ``width`` characters."""
    lines = [COLUMNS, *((row[0][:width], *row[1:]) for row in rows(results))]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    ruler = tuple("-" * w for w in widths)
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < _LEFT else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (lines[0], ruler, *lines[1:])
    )


def _arm(arm: Mapping[str, Any]) -> tuple[str, ...]:
    delta = arm["delta"]
    return (
        visible(arm["name"]),
        arm["role"],
        str(len(arm["seeds"])),
        percent(arm["mean"]),
        sd(arm["sd"]),
        points(delta["mean"]) if delta else MISSING,
        interval(delta["ci95"]) if delta else MISSING,
        won(delta),
        percent(arm["agreement"]),
        decimal(arm["ece"]),
        count(arm["params"]),
        duration(arm["seconds"]),
    )


def _teacher(teacher: Mapping[str, Any]) -> tuple[str, ...]:
    known = {
        "arm": visible(teacher["name"]),
        "role": "teacher",
        "accuracy": percent(teacher["accuracy"]["test"]),
        "params": count(teacher["params"]),
        "time": duration(teacher["seconds"]),
    }
    return tuple(known.get(column, MISSING) for column in COLUMNS)
