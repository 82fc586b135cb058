import math
import random
from collections.abc import Callable
from typing import Any

import pytest

Record = dict[str, Any]

ROLES = {"student": "baseline", "kd": "method", "smoothing": "control", "shuffled": "control"}
# Accuracy at N=100 of the digits benchmark: the student alone, and what each arm adds to it.
GAINS = {"student": 0.0, "kd": 0.040, "smoothing": 0.001, "shuffled": -0.75}


def arm_record(
    arm: str, seed: int, accuracy: float | None, role: str = "method", **more: Any
) -> Record:
    """One finished arm: `last` is the given accuracy, `best` one point above it."""
    best = None if accuracy is None else accuracy + 0.01
    return {
        "kind": "arm",
        "arm": arm,
        "role": role,
        "seed": seed,
        "last": {
            "test": {"accuracy": accuracy, "nll": 0.5, "ece": 0.05, "agreement": 0.9, "kl": 0.2},
            "validation": {"accuracy": accuracy, "nll": 0.5},
        },
        "best": {"epoch": 3, "test": {"accuracy": best}, "validation": {"accuracy": best}},
        "params": 2410,
        "seconds": 0.4,
        "kept": "last",
        **more,
    }


def teacher_record(accuracy: float = 0.982, **more: Any) -> Record:
    return {
        "kind": "teacher",
        "name": "mlp 64-256-256-10",
        "params": 85002,
        "accuracy": {"train": 1.0, "validation": 0.985, "test": accuracy},
        "seconds": 3.2,
        "source": "trained in this run on all training images",
        **more,
    }


def run_record(**more: Any) -> Record:
    return {
        "kind": "run",
        "name": "demo",
        "command": "demo",
        "started": "2026-11-20T10:15:00+00:00",
        "recipe": {
            "name": "digits",
            "data": {"name": "digits", "labelled": 100, "validation": 0.1},
            "student": {"name": "mlp", "widths": [64, 32, 10]},
            "terms": [
                {"loss": "ce", "weight": 0.1},
                {"loss": "kd", "weight": 0.9, "options": {"temperature": 4.0}},
            ],
            "training": {"steps": 600, "optimizer": "adam", "lr": 0.001},
        },
        "environment": {"python": "3.12.3", "torch": "2.13.0", "device": "cpu", "threads": 1},
        "data": {
            "name": "digits",
            "num_classes": 10,
            "class_names": [str(digit) for digit in range(10)],
            "train": 1000,
            "validation": 100,
            "test": 697,
        },
        **more,
    }


def comparison(seeds: int = 10, steps: int = 60) -> list[Record]:
    """A log like the demo's: four arms over paired seeds, with all curves."""
    rng = random.Random(0)
    records = [run_record(), teacher_record()]
    for seed in range(seeds):
        base = rng.gauss(0.873, 0.012)
        for arm, role in ROLES.items():
            accuracy = base + GAINS[arm] + (rng.gauss(0, 0.013) if arm != "student" else 0)
            records += curve_records(rng, arm, seed, accuracy, steps)
            records.append(arm_record(arm, seed, accuracy, role))
            test = records[-1]["last"]["test"]
            test["agreement"] = max(0.05, accuracy + rng.gauss(0.005, 0.004))
            test["ece"] = abs(rng.gauss(0.05 if role != "control" else 0.09, 0.01))
    return [*records, {"kind": "end", "status": "ok", "error": None}]


def curve_records(
    rng: random.Random, arm: str, seed: int, accuracy: float, steps: int
) -> list[Record]:
    records: list[Record] = []
    kd = arm in ("kd", "shuffled")
    for step in range(1, steps + 1):
        done = 1 - math.exp(-5 * step / steps)
        ce = 2.3 * (1 - done) + 0.1 + abs(rng.gauss(0, 0.04)) + (2.0 * done * (arm == "shuffled"))
        parts = {"ce": ce}
        if kd:
            parts["kd"] = 9 * (1 - done) + 0.5 + abs(rng.gauss(0, 0.2)) + 14 * (arm == "shuffled")
        loss = 0.1 * ce + 0.9 * parts["kd"] if kd else ce
        records.append(
            {"kind": "step", "arm": arm, "seed": seed, "step": step, "epoch": step // 10}
            | {"loss": loss, "parts": parts, "lr": 1e-3}
        )
        if step % max(1, steps // 30) == 0:
            now = 0.1 + (accuracy - 0.1) * done + rng.gauss(0, 0.006)
            validation = {"accuracy": now, "nll": 2.3 * (1 - done) + 0.4}
            records.append(
                {"kind": "epoch", "arm": arm, "seed": seed, "epoch": step // 10, "step": step}
                | {"validation": validation}
            )
    return records


def single_run(steps: int = 60) -> list[Record]:
    """A log of `distill`: one method, one seed, no baseline."""
    rng = random.Random(1)
    return [
        run_record(name="first-try", command="distill"),
        teacher_record(),
        *curve_records(rng, "kd", 0, 0.913, steps),
        arm_record("kd", 0, 0.913),
        {"kind": "end", "status": "ok", "error": None},
    ]


@pytest.fixture
def make_arm() -> Callable[..., Record]:
    return arm_record


@pytest.fixture
def make_teacher() -> Callable[..., Record]:
    return teacher_record


@pytest.fixture
def make_run() -> Callable[..., Record]:
    return run_record


@pytest.fixture
def make_comparison() -> Callable[..., list[Record]]:
    return comparison


@pytest.fixture
def make_single_run() -> Callable[..., list[Record]]:
    return single_run
