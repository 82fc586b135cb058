"""Position embeddings of a vision transformer at another resolution."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.errors import InputError


def resized_positions(positions: Tensor, grid: tuple[int, int], prefix_tokens: int) -> Tensor:
    """Return position embeddings for another grid of patches, as when images grow for fine-tuning.

    The embeddings of the patches are laid out on their grid and interpolated bicubically with
    antialiasing; those of the prefix tokens (class, distillation) stay.

    Args:
        positions: ``[1, prefix_tokens + h * h, D]``: a square grid, as the file does not say.
        grid: Patches along height and width of the new images.
        prefix_tokens: How many leading tokens are not patches.

    Raises:
        InputError: The patches do not fill a square.

    >>> resized_positions(torch.ones(1, 2 + 9, 4), (4, 6), 2).shape
    torch.Size([1, 26, 4])
    """
    patches = positions.shape[1] - prefix_tokens
    side = math.isqrt(max(patches, 0))
    if side < 1 or side * side != patches:
        raise InputError(
            f"position embeddings: expected {prefix_tokens} leading tokens and a square grid of "
            f"patches, found {positions.shape[1]} tokens {list(positions.shape)}; use weights of "
            "the same kind of model, trained on square images"
        )
    prefix, rest = positions[:, :prefix_tokens], positions[:, prefix_tokens:]
    image = rest.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    image = F.interpolate(image, size=grid, mode="bicubic", align_corners=False, antialias=True)
    new = image.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)
    return torch.cat([prefix, new], dim=1)
