"""What the page shows: every name that the template reads, made from records and summary."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from markupsafe import Markup

from tutelage.report.curves import Panel, panels
from tutelage.report.figures import deltas, strips
from tutelage.report.readings import TEACHER_ARM, Readings
from tutelage.report.safe import script_json, visible
from tutelage.report.table import COLUMNS, rows
from tutelage.report.words import count, duration, percent

_COLOURS = 8
_SELECTION = {
    "last": ("last epoch", "Every arm is judged by its weights after the last epoch."),
    "best": (
        "best epoch on the validation split",
        "Every arm is judged by its weights at the epoch with the highest accuracy on the "
        "validation split, which is taken from the training data.",
    ),
}


def gather(readings: Readings, results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all names in the template."""
    arms = results["arms"]
    drawn = panels(readings)
    longest = max((len(curve.x) for panel in drawn for curve in panel.curves), default=0)
    legend = _legend(arms, drawn)
    teacher = results["teacher"]
    accuracy = teacher["accuracy"]["test"] if teacher else None
    short, explained = _SELECTION[results["selection"]]
    return {
        "name": results.get("name") or "run",
        "results": results,
        "facts": list(_facts(readings, results)),
        "table": _table(results),
        "selected": short,
        "selection_note": explained,
        "several": any(len(arm["seeds"]) > 1 for arm in arms),
        "deltas": deltas(arms),
        "accuracy": strips(
            arms,
            lambda arm: arm["values"],
            None if accuracy is None else (accuracy, "the teacher"),
            share=True,
        ),
        "agreement": strips(arms, lambda arm: arm["per_seed"]["agreement"], share=True),
        "ece": strips(arms, lambda arm: arm["per_seed"]["ece"]),
        "colour": {entry["name"]: entry["colour"] for entry in legend},
        "legend": legend,
        "panels": [panel.title for panel in drawn],
        "singles": any(curve.seed is not None for panel in drawn for curve in panel.curves),
        "thinned": _longest(readings) > longest,
        "max_points": longest,
        "data": _curve_data(drawn, legend),
        "cards": list(_cards(readings, results)),
        "recipe": _yaml(readings.run.get("recipe")),
        "environment": list(_flat(readings.run.get("environment") or {})),
    }


def _table(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    sure = [_leaves_out_zero(arm["delta"]) for arm in results["arms"]]
    sure += [False] * len(results["teachers"])
    return [
        {**dict(zip(COLUMNS, row, strict=True)), "sure": clear}
        for row, clear in zip(rows(results), sure if results["arms"] else (), strict=False)
    ]


def _leaves_out_zero(delta: Mapping[str, Any] | None) -> bool:
    if delta is None or delta["ci95"] is None:
        return False
    low, high = delta["ci95"]
    return bool(low > 0 or high < 0)


def _legend(arms: list[dict[str, Any]], drawn: list[Panel]) -> list[dict[str, Any]]:
    """Give each arm its colour: the baseline is neutral, controls are dashed."""
    roles = {arm["name"]: arm["role"] for arm in arms}
    for panel in drawn:
        for curve in panel.curves:
            roles.setdefault(curve.arm, "other")
    legend, used = [], 0
    for name, role in roles.items():
        if role != "baseline":
            used += 1
        colour = 0 if role == "baseline" else (used - 1) % (_COLOURS - 1) + 1
        legend.append({"name": name, "colour": colour, "dashed": role == "control"})
    return legend


def _curve_data(drawn: list[Panel], legend: list[dict[str, Any]]) -> Markup:
    index = {entry["name"]: i for i, entry in enumerate(legend)}
    grids: dict[tuple[int, ...], int] = {}
    shown = [
        {
            "unit": panel.unit,
            "curves": [
                {
                    "a": index[curve.arm],
                    "s": curve.seed,
                    # Seeds mostly share their steps: each distinct axis is stored once.
                    "g": grids.setdefault(tuple(curve.x), len(grids)),
                    "y": curve.y,
                }
                for curve in panel.curves
            ],
        }
        for panel in drawn
    ]
    arms = [{**entry, "name": visible(entry["name"], 48)} for entry in legend]
    return script_json({"arms": arms, "grids": [list(grid) for grid in grids], "panels": shown})


def _facts(readings: Readings, results: Mapping[str, Any]) -> Iterator[str]:
    run, arms = readings.run, results["arms"]
    if run.get("command"):
        yield f"tutelage {run['command']}"
    if run.get("started"):
        yield str(run["started"])[:16].replace("T", " ")
    if arms:
        seeds = len({seed for arm in arms for seed in arm["seeds"]})
        yield f"{len(arms)} arm{'s' * (len(arms) > 1)}, {seeds} seed{'s' * (seeds > 1)}"
    yield f"judged at the {_SELECTION[results['selection']][0]}"


def _cards(readings: Readings, results: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    student = next((arm["params"] for arm in results["arms"] if arm["params"]), None)
    for teacher in results["teachers"]:
        listed = [("name", teacher["name"]), ("parameters", count(teacher["params"]))]
        if teacher["params"] and student:
            ratio = f"{teacher['params'] / student:.1f} times the student's"
            listed[-1] = ("parameters", f"{count(teacher['params'])} ({ratio})")
        for split, value in teacher["accuracy"].items():
            if value is not None:
                listed.append((f"{split} accuracy", percent(value)))
        if teacher["seconds"] is not None:
            listed.append(("training time", duration(teacher["seconds"])))
        if teacher.get("source"):
            listed.append(("source", str(teacher["source"])))
        yield {"title": "The teacher", "rows": listed}
    data = readings.run.get("data")
    if isinstance(data, dict) and data:
        yield {
            "title": "The data",
            "rows": [(term.replace("_", " "), words) for term, words in _flat(data)],
        }


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            more = f" and {len(value) - 20} more" if len(value) > 20 else ""
            yield name, ", ".join(visible(item, 40) for item in value[:20]) + more
        elif value is not None:
            yield name, str(value)


def _yaml(recipe: Any) -> str:
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=96) if recipe else ""


def _longest(readings: Readings) -> int:
    """Return the most points that any arm logged."""
    drawn = [arm for arm in readings.steps if arm != TEACHER_ARM or arm in readings.arms]
    return max((len(steps) for arm in drawn for steps in readings.steps[arm].values()), default=0)
