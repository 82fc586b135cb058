"""The width of a feature, of whatever layout."""

from torch import Tensor


def width(feature: Tensor) -> int:
    """Return D of vectors ``[B, D]``, tokens ``[B, N, D]`` or maps ``[B, D, H, W]``."""
    return feature.shape[1 if feature.ndim == 4 else -1]
