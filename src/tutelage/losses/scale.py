"""Scales that keep squares and products of huge numbers in range."""

import torch
from torch import Tensor


def power_of_two(size: Tensor) -> Tensor:
    """Return the power of two next to a positive number, which divides without rounding.

    Of 0 it is 1.

    >>> power_of_two(torch.tensor([0.0, 0.3, 1000.0]))
    tensor([1.0000e+00, 2.5000e-01, 1.0240e+03])
    """
    tiny = torch.finfo(size.dtype).tiny
    return size.clamp_min(tiny).log2().round().exp2().masked_fill(size == 0, 1.0)
