"""One honest sentence: did distillation help, and does the gain come from the teacher?"""

from collections.abc import Mapping
from typing import Any

from tutelage.report.safe import visible
from tutelage.report.words import interval, percent, points, wins

Results = Mapping[str, Any]
Arm = Mapping[str, Any]

_ORDER = ("helped", "unattributed", "single-seed", "no-evidence", "hurt")


def judge(results: Results) -> dict[str, str]:
    """Judge a run from its summary.

    The kinds, strongest first. ``helped``: the paired interval of a method against the baseline
    lies above zero, and so does its interval against every control. ``unattributed``: above the
    baseline, but not above each control. ``single-seed``: one pair, so there is no interval.
    ``no-evidence``: the interval includes zero. ``hurt``: it lies below zero.
    ``chance-teacher``: the teacher knows next to nothing, whatever the arms did.
    ``no-baseline``, ``no-method`` and ``no-result``: there is nothing to judge by. With several
    methods the best one is named, and the sentence says among how many it was chosen.

    Args:
        results: What :func:`tutelage.report.build_results` gathers.

    Returns:
        ``{"kind": ..., "sentence": ...}``.
    """
    kind, sentence = _judge(results)
    return {"kind": kind, "sentence": sentence}


def chance_bound(num_classes: int) -> float:
    r"""Return the accuracy up to which a classifier counts as near chance.

    :math:`\min(2c,\; c + 0.05\,(1 - c))` with :math:`c = 1 / num\_classes`: 52.5% for two
    classes, 14.5% for ten, 0.2% for a thousand.

    >>> round(chance_bound(10), 3)
    0.145
    """
    chance = 1 / num_classes
    return min(2 * chance, chance + 0.05 * (1 - chance))


def _judge(results: Results) -> tuple[str, str]:
    arms = results["arms"]
    baseline = next((arm for arm in arms if arm["role"] == "baseline"), None)
    methods = [arm for arm in arms if arm["role"] == "method"]
    if not arms:
        return "no-result", "There is no result: no arm finished."
    if not methods:
        return "no-method", (
            f"Nothing was distilled: {visible(arms[0]['name'])} reaches "
            f"{percent(arms[0]['mean'])} on the test set, and no method was trained beside it."
        )
    compared = [method for method in methods if method["delta"] is not None]
    if baseline is None or not compared:
        return _no_baseline(methods[0], baseline, results)
    verdicts = [(_kind(method), method) for method in compared]
    # The strongest claim first; among equals the largest difference.
    kind, method = min(verdicts, key=lambda v: (_ORDER.index(v[0]), -v[1]["delta"]["mean"]))
    name = visible(method["name"]) + (
        f" (best of {len(compared)} methods)" if len(compared) > 1 else ""
    )
    sentence = _sentence(kind, name, method)
    if _near_chance(results):
        return "chance-teacher", f"{_chance_clause(results)}, so no gain can come from it. " + (
            f"{name} differs from the student alone by {_evidence(method['delta'])}."
        )
    return kind, sentence + _weak_teacher(results, baseline) + "."


def _kind(method: Arm) -> str:
    delta = method["delta"]
    if delta["ci95"] is None:
        return "single-seed"
    low, high = delta["ci95"]
    if low > 0:
        return "unattributed" if _unbeaten(method) else "helped"
    return "hurt" if high < 0 else "no-evidence"


def _unbeaten(method: Arm) -> list[Mapping[str, Any]]:
    """Return the controls above which the method's interval does not lie."""
    return [
        against
        for against in method.get("versus_controls", ())
        if against["delta"] is None
        or against["delta"]["ci95"] is None
        or against["delta"]["ci95"][0] <= 0
    ]


def _sentence(kind: str, name: str, method: Arm) -> str:
    delta = method["delta"]
    beats = f"{name} beats the student alone by {_evidence(delta)}"
    differs = f"{name} differs from the student alone by {_evidence(delta)}"
    if kind == "helped":
        return f"Distillation helped: {beats}{_controls(method)}"
    if kind == "unattributed":
        return f"The gain may not come from the teacher: {beats}, but {_against(method)}"
    if kind == "hurt":
        return f"Distillation hurt: {differs}"
    if kind == "single-seed":
        return (
            f"One seed proves nothing: {name} differs from the student alone by "
            f"{points(delta['mean'])} points on seed {delta['seeds'][0]}, and chance alone can do "
            "that; run at least 5 seeds"
        )
    return f"No evidence that distillation helped: {differs}, and that interval includes zero"


def _evidence(delta: Mapping[str, Any]) -> str:
    if delta["ci95"] is None:
        return f"{points(delta['mean'])} points (one seed, so no interval)"
    seeds = wins(delta, " seeds")
    return f"{points(delta['mean'])} points (95% CI {interval(delta['ci95'])}, {seeds})"


def _controls(method: Arm) -> str:
    beaten = method.get("versus_controls", ())
    if not beaten:
        return "; no control was trained, so a mere regularising effect is not ruled out"
    if len(beaten) == 1:
        return f" and the control {visible(beaten[0]['control'])}"
    return " and both controls" if len(beaten) == 2 else f" and all {len(beaten)} controls"


def _against(method: Arm) -> str:
    parts = []
    for against in _unbeaten(method):
        control = visible(against["control"])
        if against["delta"] is None:
            parts.append(f"it shares no seed with the control {control}")
        else:
            evidence = _evidence(against["delta"])
            parts.append(f"against the control {control} the difference is {evidence}")
    return " and ".join(parts)


def _no_baseline(method: Arm, baseline: Arm | None, results: Results) -> tuple[str, str]:
    n = len(method["seeds"])
    reached = (
        f"{visible(method['name'])} reaches {percent(method['mean'])} on the test set "
        f"({n} seed{'s' if n > 1 else ''})"
    )
    if baseline is not None:
        missing = "it shares no seed with the student trained alone, so the gain is unknown"
    else:
        missing = "without the same student trained alone the gain is unknown"
    chance = f" {_chance_clause(results)}." if _near_chance(results) else ""
    return "no-baseline", f"{reached}; {missing}: run `tutelage compare`.{chance}"


def _weak_teacher(results: Results, baseline: Arm) -> str:
    accuracy = _teacher_accuracy(results)
    if accuracy is None or accuracy >= baseline["mean"]:
        return ""
    return (
        f"; the teacher ({percent(accuracy)}) is itself below the student alone "
        f"({percent(baseline['mean'])})"
    )


def _near_chance(results: Results) -> bool:
    accuracy, classes = _teacher_accuracy(results), results.get("num_classes")
    return accuracy is not None and classes is not None and accuracy <= chance_bound(classes)


def _chance_clause(results: Results) -> str:
    classes = results["num_classes"]
    return (
        f"The teacher is near chance ({percent(_teacher_accuracy(results))} on the test set, where "
        f"guessing among {classes} classes gives {percent(1 / classes)})"
    )


def _teacher_accuracy(results: Results) -> float | None:
    teacher = results.get("teacher")
    value: float | None = teacher["accuracy"]["test"] if teacher else None
    return value
