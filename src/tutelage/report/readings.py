"""The run log, sorted by what its records are about. Later records of one thing replace earlier."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
"""One line of ``log.jsonl``."""

TEACHER_ARM = "teacher"
"""Step and epoch records under this arm name belong to the teacher's own training."""


@dataclass
class Readings:
    """All records of one run by kind.

    A run that was resumed logs some things twice: the last record of a kind, arm, seed and step
    counts. Records of unknown kinds are left alone, so that logs may grow.

    Args:
        run: The run record, empty if there is none.
        teachers: Teacher records, in the order of their names' first appearance.
        arms: Finished arms: name -> seed -> record.
        steps: Loss records: name -> seed -> step -> record.
        epochs: Validation records: name -> seed -> step -> record.
        stages: Earlier stages of arms: name -> seed -> record, whose ``of`` is the arm.
        end: The end record, empty if there is none.
    """

    run: Record = field(default_factory=dict)
    teachers: list[Record] = field(default_factory=list)
    arms: dict[str, dict[int, Record]] = field(default_factory=dict)
    steps: dict[str, dict[int, dict[int, Record]]] = field(default_factory=dict)
    epochs: dict[str, dict[int, dict[int, Record]]] = field(default_factory=dict)
    stages: dict[str, dict[int, Record]] = field(default_factory=dict)
    end: Record = field(default_factory=dict)

    def unfinished(self) -> list[tuple[str, int]]:
        """Return arms and seeds that were begun and have no final record."""
        begun = {
            (self.arm_of(arm, seed), seed): None
            for curves in (self.steps, self.epochs)
            for arm, seeds in curves.items()
            for seed in seeds
        }
        teachers = {TEACHER_ARM} | {teacher.get("name") for teacher in self.teachers}
        return [
            (arm, seed)
            for arm, seed in begun
            if seed not in self.arms.get(arm, {}) and (arm in self.arms or arm not in teachers)
        ]

    def arm_of(self, name: str, seed: int) -> str:
        """Return the arm that a name in the log belongs to: its own, unless it is a stage."""
        return str(self.stages.get(name, {}).get(seed, {}).get("of", name))


def sort_records(records: Iterable[Record]) -> Readings:
    """Sort the records of a run log by kind, arm, seed and step."""
    readings = Readings()
    teachers: dict[str, Record] = {}
    for record in records:
        kind = record.get("kind")
        if kind == "run":
            # A resumed run states itself again; its first start is the run's start.
            readings.run = {**record, "started": readings.run.get("started", record.get("started"))}
        elif kind == "teacher":
            teachers[str(record.get("name", TEACHER_ARM))] = record
        elif kind == "arm":
            readings.arms.setdefault(str(record["arm"]), {})[_seed(record)] = record
        elif kind == "stage":
            readings.stages.setdefault(str(record["arm"]), {})[_seed(record)] = record
        elif kind in ("step", "epoch"):
            curves = readings.steps if kind == "step" else readings.epochs
            by_step = curves.setdefault(str(record["arm"]), {}).setdefault(_seed(record), {})
            by_step[int(record.get("step", len(by_step)))] = record
        elif kind == "end":
            readings.end = record
    readings.teachers = list(teachers.values())
    return readings


def number(record: Record, *path: str) -> float | None:
    """Return the finite number at a path of keys, or ``None`` where there is none.

    >>> number({"last": {"test": {"accuracy": 0.9}}}, "last", "test", "accuracy")
    0.9
    >>> number({"last": None}, "last", "test", "accuracy") is None
    True
    """
    found: Any = record
    for key in path:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return None
    return float(found)


def _seed(record: Record) -> int:
    return int(record.get("seed") or 0)
