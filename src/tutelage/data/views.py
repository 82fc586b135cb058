"""Views: random augmentation that can be played again.

A *view* is one random version of an image. It is drawn from the seed of ``(run seed, sample id,
view)`` alone, so that it does not depend on workers, batch order or batch size, and a teacher's
answer to it can be kept on disk. torchvision's transforms take no generator, hence ``replay``.
"""

import random
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.data.seeds import mix, mix_each

In = TypeVar("In")
Out = TypeVar("Out")

_63_BITS = 2**63 - 1


def seed_for(seed: int, sample_id: int, view: int) -> int:
    """Return the seed of one view of one sample, 0 to 2^63 - 1.

    >>> seed_for(0, sample_id=7, view=1) == seed_for(0, sample_id=7, view=1)
    True
    >>> seed_for(0, sample_id=7, view=1) == seed_for(0, sample_id=1, view=7)
    False
    """
    return mix("view", seed, view, sample_id) & _63_BITS


def seeds_for(seed: int, ids: Tensor, view: int) -> NDArray[np.uint64]:
    """Return ``seed_for`` of each sample of ``ids``, an int64 tensor ``[B]``."""
    return mix_each(ids.numpy(), "view", seed, view) & np.uint64(_63_BITS)


def replay(transform: Callable[[In], Out], sample: In, seed: int) -> Out:
    """Return ``transform(sample)`` with all global random generators of the CPU at ``seed``.

    The generators of torch (CPU), numpy and ``random`` are given back as they were, also after
    an exception. A transform that holds a generator of its own is not reached.

    Args:
        transform: Any callable.
        sample: Its one argument.
        seed: 0 to 2^63 - 1; see :func:`seed_for`.

    >>> draw = lambda n: torch.rand(n).tolist()
    >>> replay(draw, 3, seed=5) == replay(draw, 3, seed=5)
    True
    """
    torch_state = torch.get_rng_state()
    numpy_state = np.random.get_state()
    python_state = random.getstate()
    try:
        # torch.manual_seed would reseed the GPUs too, which nothing here gives back.
        torch.default_generator.manual_seed(seed)
        np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
        random.seed(seed)
        return transform(sample)
    finally:
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
