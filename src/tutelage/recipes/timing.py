"""Seconds of one step of each kind, taken in turns."""

import time
from collections.abc import Callable
from statistics import median

import torch

_TIMED = 7  # steps of each kind; their median counts
_PATIENCE = 10.0  # seconds after which no further step is begun


def seconds_of(*steps: Callable[[], object], device: torch.device) -> list[float]:
    """Return the median seconds of each step; they take turns, so that a busy machine hits all."""
    times: list[list[float]] = [[] for _ in steps]
    begin = time.perf_counter()
    for turn in range(_TIMED + 2):
        if turn and time.perf_counter() - begin > _PATIENCE:
            break
        for taken, step in zip(times, steps, strict=True):
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - start)
    return [median(taken[2:] or taken[-1:]) for taken in times]  # the first ones fill caches
