"""Random state: set, saved, restored and fenced in, for Python, numpy and torch together."""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from tutelage.errors import InputError


def seed_everything(seed: int) -> None:
    """Seed the generators of Python, numpy and torch (all devices) with ``seed``.

    Args:
        seed: From 0 to 2**63 - 1. Numpy takes 32 bits and gets the lower ones.

    Raises:
        InputError: If ``seed`` is out of range.

    >>> with forked():
    ...     seed_everything(1)
    ...     first = torch.rand(3)
    ...     seed_everything(1)
    ...     torch.equal(first, torch.rand(3))
    True
    """
    if not 0 <= seed < 2**63:
        raise InputError(f"seed: expected a whole number from 0 to 2**63 - 1, found {seed}")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """Return the state of all generators as tensors, numbers, strings, lists and dicts only.

    ``torch.load(weights_only=True)`` reads that back; numpy's own arrays it would refuse.
    """
    numpy = np.random.get_state(legacy=False)
    version, numbers, gauss_next = random.getstate()
    return {
        "python": [version, list(numbers), gauss_next],
        "numpy": {
            "bit_generator": numpy["bit_generator"],
            "key": numpy["state"]["key"].tolist(),
            "pos": numpy["state"]["pos"],
            "has_gauss": numpy["has_gauss"],
            "gauss": numpy["gauss"],
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Set all generators to a state from :func:`random_state`.

    The states of CUDA devices are set as far as this machine has the devices.
    """
    version, numbers, gauss_next = state["python"]
    random.setstate((version, tuple(numbers), gauss_next))
    numpy = dict(state["numpy"])
    inner = {"key": np.array(numpy.pop("key"), dtype=np.uint32), "pos": numpy.pop("pos")}
    np.random.set_state({**numpy, "state": inner})
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        for device, rng in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(rng, device)


@contextmanager
def forked() -> Iterator[None]:
    """Give all generators back at the end as they were, also after an exception."""
    state = random_state()
    try:
        yield
    finally:
        restore_random_state(state)
