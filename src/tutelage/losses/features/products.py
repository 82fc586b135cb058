"""Inner products of channels, in the precision of their factors."""

import torch
from jaxtyping import Float
from torch import Tensor


def products(a: Float[Tensor, "B C P"], b: Float[Tensor, "B D P"]) -> Float[Tensor, "B C D"]:
    """Return the inner product of every row of ``a`` with every row of ``b``, also in autocast.

    >>> products(torch.ones(1, 1, 3), torch.ones(1, 2, 3))
    tensor([[[3., 3.]]])
    """
    with torch.autocast(a.device.type, enabled=False):  # it would lower them
        return a @ b.mT
