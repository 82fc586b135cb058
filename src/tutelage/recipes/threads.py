"""How many CPU threads torch computes on, for the time of a run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(wanted: int | None) -> Iterator[None]:
    """Let torch compute on ``wanted`` CPU threads, and on as many as before at the end.

    >>> with threads(1):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    if wanted is not None:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
