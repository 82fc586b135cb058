"""One vector for each sample, of whatever layout."""

from jaxtyping import Float
from torch import Tensor


def pooled(feature: Float[Tensor, "B *D"]) -> Float[Tensor, "B D"]:
    """Return ``[B, D]``: the mean over pixels ``[B, D, H, W]`` or tokens ``[B, N, D]``.

    >>> import torch
    >>> pooled(torch.ones(2, 3, 4, 4)).shape, pooled(torch.ones(2, 7, 5)).shape
    (torch.Size([2, 3]), torch.Size([2, 5]))
    """
    if feature.ndim <= 2:
        return feature
    return feature.mean(1) if feature.ndim == 3 else feature.flatten(2).mean(2)
