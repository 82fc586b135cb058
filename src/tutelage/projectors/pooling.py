"""One vector for each sample, of whatever layout."""

from torch import Tensor


def pooled(feature: Tensor) -> Tensor:
    """Return ``[B, D]``: the mean over pixels ``[B, D, H, W]`` or tokens ``[B, N, D]``."""
    if feature.ndim <= 2:
        return feature
    return feature.mean(1) if feature.ndim == 3 else feature.flatten(2).mean(2)


def width(feature: Tensor) -> int:
    """Return D of vectors ``[B, D]``, tokens ``[B, N, D]`` or maps ``[B, D, H, W]``."""
    return feature.shape[1 if feature.ndim == 4 else -1]
