"""Vectors at unit length."""

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.losses.scale import power_of_two


def unit(vectors: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Return the vectors of the last axis at Euclidean length 1.

    One of at most 1e-12 is returned as it is: divided by that floor, as is common, its gradient
    would be a million million times that of the others, and a dead channel would throw training.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    # Their squares could overflow; an infinite length would make 0 of them.
    vectors = vectors / power_of_two(vectors.detach().abs().amax(-1, keepdim=True).clamp_min(1.0))
    length: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / length.masked_fill(length <= 1e-12, 1.0)
