"""Spatial resizing of maps, split around a 1x1 convolution so that it always costs least.

A 1x1 convolution commutes with averaging and with interpolation, whose weights sum to one. So a
map is shrunk before the convolution and grown after it.
"""

from torch import Tensor
from torch.nn import functional as F

Size = tuple[int, int]


def shrink(maps: Tensor, size: Size) -> Tensor:
    """Average ``maps`` ``[B, C, H, W]`` down to at most ``size`` in each direction."""
    height, width = maps.shape[-2:]
    smaller = (min(height, size[0]), min(width, size[1]))
    return maps if smaller == (height, width) else F.adaptive_avg_pool2d(maps, smaller)


def grow(maps: Tensor, size: Size) -> Tensor:
    """Interpolate ``maps`` ``[B, C, h, w]`` bilinearly up to ``size``."""
    if tuple(maps.shape[-2:]) == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
