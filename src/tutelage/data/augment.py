"""Augmentation of images in memory: a whole batch at once, from one seed per sample."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.data.seeds import scramble


@dataclass(frozen=True)
class ShiftFlip:
    """Shift each image by whole pixels, and mirror half of them left to right.

    Args:
        pixels: The largest shift; both axes are uniform on ``-pixels .. pixels``. What moves
            in from outside is 0, the background of the grey data sets.
        flip: Whether half of the images are mirrored. Not for digits: a mirrored 2 is none.
    """

    pixels: int
    flip: bool = True

    def __call__(
        self, images: Shaped[Tensor, "B C H W"], seeds: NDArray[np.uint64]
    ) -> Shaped[Tensor, "B C H W"]:
        """Return the images moved; ``seeds`` holds one 63-bit number per image."""
        count, channels, height, width = images.shape
        reach = 2 * self.pixels + 1
        words = scramble(seeds)
        down = _field(words, 0, reach)
        right = _field(words, 24, reach)
        rows = down + torch.arange(height)
        columns = torch.arange(width).expand(count, width)
        if self.flip:
            mirrored = _field(words, 48, 2).bool()
            columns = torch.where(mirrored, width - 1 - columns, columns)
        columns = columns + right
        padded = F.pad(images, (self.pixels,) * 4)
        places = rows[:, :, None] * padded.shape[-1] + columns[:, None, :]
        places = places.view(count, 1, -1).expand(-1, channels, -1)
        return padded.flatten(2).gather(2, places).view(images.shape)


def augmentation(
    augment: str | Callable[[Any], Any], size: tuple[int, int]
) -> ShiftFlip | Callable[[Any], Any] | None:
    """Return the augmentation of this name for images of ``size`` (height, width).

    Args:
        augment: ``"none"``, ``"shift"``, ``"shift-flip"``, or a callable from one raw image
            ``[C, H, W]`` to another of the same shape. Shifts reach 1/14 of the shorter side,
            and at least one pixel: 1 for 8x8 images, 2 for 28x28.
        size: Height and width in pixels.

    Raises:
        InputError: When the name is unknown.
    """
    if callable(augment):
        return augment
    _check.one_of(augment, ("none", "shift", "shift-flip"), "augment")
    pixels = max(1, min(size) // 14)
    return None if augment == "none" else ShiftFlip(pixels, flip=augment == "shift-flip")


def _field(words: NDArray[np.uint64], bits: int, count: int) -> Tensor:
    """Return a number below ``count`` from 16 bits of each word, int64 ``[B, 1]``."""
    numbers = ((words >> bits) & 0xFFFF) % count
    return torch.from_numpy(numbers.astype(np.int64))[:, None]
