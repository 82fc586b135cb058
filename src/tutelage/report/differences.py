"""Every arm against the baseline, and every method against every control, over shared seeds."""

from typing import Any

from tutelage.report.paired import Paired, paired
from tutelage.report.safe import visible


def compare(arms: list[dict[str, Any]]) -> list[str]:
    """Fill in each arm's differences and return what has to be said about them.

    Args:
        arms: The summaries of all arms, sorted; ``delta`` (against the baseline) and, for
            methods, ``versus_controls`` are set in place.
    """
    notes: list[str] = []
    baselines = [arm for arm in arms if arm["role"] == "baseline"]
    if len(baselines) > 1:
        others = ", ".join(visible(arm["name"]) for arm in baselines[1:])
        notes.append(
            f"Differences are against {visible(baselines[0]['name'])}, not against {others}."
        )
    for arm in arms:
        if baselines and arm is not baselines[0]:
            arm["delta"] = _delta(arm, baselines[0], notes)
        if arm["role"] == "method":
            arm["versus_controls"] = [
                {"control": control["name"], "delta": _delta(arm, control, [])}
                for control in arms
                if control["role"] == "control"
            ]
    return notes


def _delta(arm: dict[str, Any], other: dict[str, Any], notes: list[str]) -> dict[str, Any] | None:
    mine = dict(zip(arm["seeds"], arm["values"], strict=True))
    theirs = dict(zip(other["seeds"], other["values"], strict=True))
    shared = sorted(mine.keys() & theirs.keys())
    lone = sorted(mine.keys() ^ theirs.keys())
    if lone:
        left, right = visible(arm["name"]), visible(other["name"])
        notes.append(
            f"{left} and {right} share {len(shared)} seeds; left out of their "
            f"comparison: {', '.join(map(str, lone))}."
        )
    if not shared:
        return None
    result = paired([mine[seed] for seed in shared], [theirs[seed] for seed in shared])
    return _as_json(result, shared)


def _as_json(result: Paired, seeds: list[int]) -> dict[str, Any]:
    return {
        "mean": result.mean,
        "ci95": list(result.interval) if result.interval else None,
        "wins": result.wins,
        "ties": result.ties,
        "n": result.n,
        "sd": result.sd,
        "seeds": seeds,
    }
