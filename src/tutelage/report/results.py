"""From the run log to ``results.json``: every arm beside the baseline, paired by seed."""

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

from tutelage.errors import DataError
from tutelage.report.differences import compare
from tutelage.report.readings import Readings, Record, number, sort_records
from tutelage.report.safe import visible
from tutelage.report.verdict import judge

ROLES = ("baseline", "method", "control")
"""The roles of arms in the order in which every table lists them."""


def build_results(records: Iterable[Record]) -> dict[str, Any]:
    """Summarise a run log.

    Values are the test accuracy of the selected model, as fractions from 0 to 1, and so are all
    differences. Seeds that one of two arms lacks are left out of their comparison, and
    ``notes`` says so. Arms are sorted by role (baseline, methods, controls), then from the
    highest mean to the lowest; no arm is left out because it lost.

    Args:
        records: The lines of ``log.jsonl``, in their order.

    Returns:
        ``{"metric", "selection", "teacher", "arms": [{"name", "role", "seeds", "values", "mean",
        "sd", "delta", "agreement", "ece", "params", "seconds"}]}``. ``delta`` is against the
        baseline: ``{"mean", "sd", "ci95", "wins", "ties", "n", "seeds"}``, and ``None`` without
        a baseline. Beyond that each arm has ``last`` and ``best`` (the same values under both
        selections), ``per_seed`` (agreement and ECE) and, for methods, ``versus_controls``;
        the whole has ``name``, ``status``, ``num_classes``, ``teachers``, ``failed``, ``notes``
        and ``verdict`` (``{"kind", "sentence"}``).

    Raises:
        DataError: If the arms of one log were selected in different ways, so that their values
            cannot be compared.
    """
    readings = sort_records(records)
    selection = _selection(readings)
    failed = _failures(readings, selection)
    dropped = {(entry["name"], entry["seed"]) for entry in failed}
    arms = []
    for name, by_seed in readings.arms.items():
        kept = {seed: by_seed[seed] for seed in sorted(by_seed) if (name, seed) not in dropped}
        if kept:
            arms.append(_summary(name, kept, selection))
    arms.sort(key=lambda arm: (_rank(arm["role"]), -arm["mean"]))
    notes = compare(arms)
    teachers = [_teacher(record) for record in readings.teachers]
    results: dict[str, Any] = {
        "name": readings.run.get("name"),
        "metric": "accuracy",
        "selection": selection,
        "status": readings.end.get("status"),
        "teacher": max(teachers, key=_test_accuracy) if teachers else None,
        "teachers": teachers,
        "num_classes": _num_classes(readings),
        "arms": arms,
        "failed": failed,
        "notes": notes + _run_notes(readings, failed),
    }
    results["verdict"] = judge(results)
    return results


def _selection(readings: Readings) -> str:
    # An arm that failed says nothing of selection.
    ways = {
        str(record.get("kept", "last"))
        for arm in readings.arms.values()
        for record in arm.values()
        if record.get("error") is None
    }
    if len(ways) > 1 or not ways <= {"last", "best"}:
        raise DataError(
            f"run log: expected one selection (last or best) for all arms, found "
            f"{', '.join(sorted(ways))}; their values cannot be compared: run them again alike"
        )
    return ways.pop() if ways else "last"


def _failures(readings: Readings, selection: str) -> list[dict[str, Any]]:
    """List arms and seeds without a usable result, each with the reason."""
    failures = []
    for name, by_seed in readings.arms.items():
        for seed, record in by_seed.items():
            error = record.get("error")
            if error is None and number(record, selection, "test", "accuracy") is None:
                error = f"its record has no finite test accuracy for selection '{selection}'"
            if error is not None:
                failures.append({"name": name, "seed": seed, "error": str(error)})
    unfinished = readings.unfinished()
    for name, seed in unfinished:
        # The run's own error stopped the arm that was begun last.
        last = (name, seed) == unfinished[-1]
        error = readings.end.get("error") if last else None
        failures.append({"name": name, "seed": seed, "error": str(error or "it did not finish")})
    return failures


def _summary(name: str, by_seed: dict[int, Record], selection: str) -> dict[str, Any]:
    records = list(by_seed.values())
    values = _values(records, selection, "test", "accuracy")
    agreement = _values(records, selection, "test", "agreement")
    ece = _values(records, selection, "test", "ece")
    return {
        "name": name,
        "role": str(records[-1].get("role", "method")),
        "seeds": list(by_seed),
        "values": values,
        "mean": _mean(values),
        "sd": stdev([v for v in values if v is not None]) if len(values) > 1 else None,
        "delta": None,
        "agreement": _mean(agreement),
        "ece": _mean(ece),
        "params": records[-1].get("params"),
        "seconds": _mean([number(record, "seconds") for record in records]),
        "last": _both(records, "last"),
        "best": _both(records, "best"),
        "per_seed": {"agreement": agreement, "ece": ece},
    }


def _both(records: list[Record], which: str) -> dict[str, Any]:
    values = _values(records, which, "test", "accuracy")
    validation = _values(records, which, "validation", "accuracy")
    found: dict[str, Any] = {
        "values": values,
        "mean": _mean(values),
        "validation": validation,
        "validation_mean": _mean(validation),
    }
    if which == "best":
        found["epochs"] = [number(record, "best", "epoch") for record in records]
    return found


def _teacher(record: Record) -> dict[str, Any]:
    accuracy = record.get("accuracy")
    splits = accuracy if isinstance(accuracy, dict) else {}
    return {
        **{key: value for key, value in record.items() if key not in ("kind", "accuracy")},
        "name": str(record.get("name", "teacher")),
        "params": record.get("params"),
        "accuracy": {split: number(splits, split) for split in ("train", "validation", "test")},
        "seconds": number(record, "seconds"),
    }


def _num_classes(readings: Readings) -> int | None:
    """Return the number of classes from the run's ``data`` or from a teacher, if either says."""
    sources = [readings.run.get("data"), readings.run, *readings.teachers]
    found = (number(source, "num_classes") for source in sources if isinstance(source, dict))
    return next((int(classes) for classes in found if classes), None)


def _test_accuracy(teacher: dict[str, Any]) -> float:
    value: float | None = teacher["accuracy"]["test"]
    return -1.0 if value is None else value


def _run_notes(readings: Readings, failed: list[dict[str, Any]]) -> list[str]:
    notes = [*_stage_notes(readings)]
    reason = readings.end.get("error") or "no reason was recorded"
    if readings.end.get("status") == "failed":
        notes.append(f"The run failed: {visible(reason, 600)}")
    if failed:
        listed = ", ".join(f"{visible(entry['name'])} seed {entry['seed']}" for entry in failed[:5])
        more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
        notes.append(f"Without a result, and in no mean: {listed}{more}.")
    return notes


def _stage_notes(readings: Readings) -> Iterable[str]:
    """Say of each earlier stage that it was there: its time and steps are in its arm's."""
    for name, by_seed in readings.stages.items():
        record = max(by_seed.values(), key=lambda one: number(one, "steps") or 0)
        steps = number(record, "steps")
        length = "was begun" if steps is None else f"took {steps:.0f} steps"
        yield (
            f"{visible(record.get('of', name))} was trained in stages: {visible(name)} {length} "
            "before the terms that it is judged by, and its time is counted in."
        )


def _values(records: Sequence[Record], *path: str) -> list[float | None]:
    return [number(record, *path) for record in records]


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present else None


def _rank(role: str) -> int:
    return ROLES.index(role) if role in ROLES else len(ROLES)
