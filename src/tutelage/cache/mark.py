"""Marks: one byte for each image, which tells whether the teacher was asked about the same pixels.

With ``r`` fixed random signs and ``n`` values in an image ``x``, the mark is
``floor(256 frac(4 <x, r> / sqrt(n)))``. Another view, another normalisation, mixed or changed
images move it at random; the order of a sum, which differs between devices, by 1 at most as a rule.
Two marks agree when they are at most 3 apart on the circle of 256, so a wrong image passes in 7 of
256 cases, and a wrong batch never in practice.
"""

import hashlib
import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_LEVELS = 256
_PERIOD = 0.25
_SLACK = 3


def marks_of(inputs: Tensor) -> Tensor:
    """Return the mark of each image of a batch, on its device, without waiting for it.

    Args:
        inputs: What the teacher is given, ``[B, ...]``; computed in float32.

    Returns:
        uint8 ``[B]``.

    >>> marks_of(torch.zeros(2, 3, 4, 4))
    tensor([0, 0], dtype=torch.uint8)
    """
    flat = inputs.detach().flatten(1).float()
    n = flat.shape[1]
    # No matrix product: autocast and the matmul precision settings would round its operands.
    along = (flat * _signs(n, flat.device)).sum(1)
    return (along * (_LEVELS / (_PERIOD * math.sqrt(n)))).floor().remainder(_LEVELS).byte()


def differ(a: Tensor, b: Tensor) -> Tensor:
    """Return, for each pair of marks, whether they stem from different pixels: bool ``[B]``.

    >>> differ(torch.tensor([255, 10]).byte(), torch.tensor([2, 14]).byte())
    tensor([False,  True])
    """
    apart = (a.int() - b.int()) % _LEVELS
    return torch.minimum(apart, _LEVELS - apart) > _SLACK


@lru_cache(maxsize=32)
def _signs(n: int, device: torch.device) -> Tensor:
    """Return ``n`` signs, the same on every machine: the bits of a hash."""
    bits = hashlib.shake_256(b"tutelage mark v1").digest((n + 7) // 8)
    ones = np.unpackbits(np.frombuffer(bits, np.uint8), count=n).astype(np.float32)
    return torch.from_numpy(ones * 2 - 1).to(device)
