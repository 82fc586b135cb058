"""Interleaved measurement of small functions, as ratios within one run."""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

SELF_CHECK = 0.02
NOTEWORTHY = 1.1


def interleaved(
    variants: dict[str, Callable[[], object]], *, rounds: int, inner: int = 1, warmup: int = 2
) -> dict[str, list[float]]:
    """Return CPU seconds per call of each variant and round; the order rotates each round."""
    names = list(variants)
    for name in names:
        for _ in range(warmup):
            variants[name]()
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            run = variants[name]
            start = time.process_time_ns()
            for _ in range(inner):
                run()
            seconds[name].append((time.process_time_ns() - start) / 1e9 / inner)
    return seconds


def ratio(top: list[float], bottom: list[float]) -> float:
    """Return the median of the per-round ratios."""
    return statistics.median(a / b for a, b in zip(top, bottom, strict=True))


class Lines:
    """The lines of a run: printed as they come, kept as JSON, and judged at the end."""

    def __init__(self, title: str) -> None:
        self.content: dict[str, object] = {
            "title": title,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
            "load": os.getloadavg()[0],
            "lines": [],
        }
        self.failed = False
        self.void = False
        print(
            f"{title}: torch {torch.__version__}, {torch.get_num_threads()} thread, "
            f"load {os.getloadavg()[0]:.1f}"
        )

    def add(self, name: str, value: float, target: str, good: bool, note: str = "") -> None:
        """Print and keep one line; ``good`` says whether it meets its ``target``."""
        self.failed |= not good
        mark = "ok  " if good else "MISS"
        print(f"  {mark}  {name:<58} {value:9.3f}   target {target:<9} {note}", flush=True)
        self._keep(name=name, value=value, target=target, met=good, note=note)

    def inform(self, name: str, value: float, note: str = "") -> None:
        """Print and keep a ratio without a target; one above 1.1 is marked."""
        mark = "HIGH" if value > NOTEWORTHY else "    "
        print(f"  {mark}  {name:<58} {value:9.3f}   {'':<16} {note}", flush=True)
        self._keep(name=name, value=value, target=None, high=value > NOTEWORTHY, note=note)

    def missing(self, name: str, note: str) -> None:
        """Say what is left out because it is not installed; the run does not fail."""
        print(f"  ----  {name:<58} missing: {note}", flush=True)
        self._keep(name=name, value=None, target=None, note=f"missing: {note}")

    def wrong(self, name: str, note: str) -> None:
        """Say that there is nothing to compare; the run fails."""
        self.failed = True
        print(f"  FAIL  {name:<58} {note}", flush=True)
        self._keep(name=name, value=None, target=None, note=note)

    def _keep(self, **line: object) -> None:
        self.content["lines"].append(line)  # type: ignore[attr-defined]

    def self_check(self, name: str, first: list[float], second: list[float]) -> None:
        """Measure the same thing against itself: off by more than 2%, the run is void."""
        value = ratio(first, second)
        good = abs(value - 1) <= SELF_CHECK
        self.void |= not good
        self.add(f"{name} self-check (same against same)", value, "1 +- 0.02", good)

    def finish(self, path: Path | None) -> None:
        """Write the JSON file and end the process: 0 if all targets are met, else 1."""
        self.content["void"] = self.void
        if path is not None:
            path.write_text(json.dumps(self.content, indent=1) + "\n", encoding="utf-8")
        if self.void:
            print("VOID: the machine is too noisy for these figures; run again")
        sys.exit(1 if self.failed else 0)
