"""What a function allocates, as torch's allocator reports it: exact, unlike the process's size."""

from collections.abc import Callable
from typing import NamedTuple

import torch


class Allocated(NamedTuple):
    """Bytes beyond what was there before the call.

    Args:
        peak: The most that was held at once, results included.
        largest: The largest single allocation.
    """

    peak: int
    largest: int


def allocated(function: Callable[[], object], *, warmup: int = 1) -> Allocated:
    """Measure one call, by the events of torch's profiler.

    It sees what a kernel holds only while it runs, and what compiled code allocates, neither of
    which passes the dispatcher. A view adds nothing, nor does a storage that is used again. What
    libraries below torch take for themselves (oneDNN, BLAS) is not seen.
    """
    for _ in range(warmup):
        function()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        kept = function()
    assert profile.profiler is not None
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = largest = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak, largest = max(peak, live), max(largest, event.nbytes())
    del kept
    return Allocated(peak, largest)
