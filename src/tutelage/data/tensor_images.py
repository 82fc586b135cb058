"""``TensorImages``: a data set that lies in memory."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from tutelage._check import positive, shape
from tutelage.data.augment import ShiftFlip
from tutelage.data.images import ImageData
from tutelage.data.spec import DataSpec
from tutelage.data.views import replay, seeds_for
from tutelage.errors import InputError, ShapeError

_DIGESTED = 4096  # images that are copied at a time for the sum over their pixels


class TensorImages(ImageData):
    """Images in one tensor, normalised per batch: ``(pixel / pixel_max - mean) / std``.

    Without augmentation, and with :class:`ShiftFlip`, a batch is made by a few tensor operations
    and no loop over samples. Any other ``transform`` runs image by image.

    Args:
        images: uint8 or floating-point pixels from 0 to ``pixel_max``. uint8 is kept as it is.
        targets: Class indices.
        spec: Classes, shape and normalisation.
        ids: Stable sample ids, int64; by default the position.
        pixel_max: The brightest value a pixel can take; by default 255 for uint8 and 1 for
            floating-point images, which then must lie between 0 and 1.
        transform: Random augmentation of the raw pixels.
        seed: Seed of the augmentation.

    Raises:
        ShapeError: When the images contradict ``spec`` or the number of labels.
        InputError: When the images are of another type, or no ``pixel_max`` is given for
            floating-point images beyond 0 to 1.
        DataError: When a label is outside the classes.
    """

    transform: ShiftFlip | Callable[[Tensor], Tensor] | None

    def __init__(
        self,
        images: Shaped[Tensor, "N C H W"],
        targets: Int[Tensor, "N"],
        spec: DataSpec,
        *,
        ids: Int[Tensor, "N"] | None = None,
        pixel_max: float | None = None,
        transform: ShiftFlip | Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(targets, ids, spec, transform=transform, seed=seed)
        expected = (len(targets), spec.channels, *spec.size)
        if images.shape != expected:
            raise ShapeError(
                f"{spec.name}: expected images {list(expected)} from the labels and the spec, "
                f"found {shape(images)}; reshape the images to [N, C, H, W]"
            )
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise InputError(
                f"{spec.name}: expected uint8 or floating-point images, found {images.dtype}"
            )
        if pixel_max is None:
            pixel_max = _usual_max(images, spec.name)
        positive(pixel_max, f"{spec.name}: pixel_max")
        self._images = images
        self._pixel_max = float(pixel_max)
        mean = torch.tensor(spec.mean).view(-1, 1, 1)
        std = torch.tensor(spec.std).view(-1, 1, 1)
        self._scale = 1 / (pixel_max * std)
        self._offset = -mean / std

    def content_digest(self) -> str:
        """Return the sha256 of the raw pixels, in the order of their ids."""
        total = hashlib.sha256(f"{self._images.dtype} {list(self._images.shape[1:])}".encode())
        rows = self.rows_by_id()
        for start in range(0, len(rows), _DIGESTED):
            part = self._images.index_select(0, rows[start : start + _DIGESTED])
            total.update(part.contiguous().view(torch.uint8).numpy().tobytes())
        return total.hexdigest()

    def preparation(self) -> dict[str, Any]:
        """Return the brightest pixel."""
        return {"pixel_max": self._pixel_max}

    def _inputs(self, rows: Tensor, ids: Tensor) -> Float[Tensor, "B C H W"]:
        images = self._images.index_select(0, rows)
        if self.transform is not None:
            images = self._augmented(images, ids)
        return torch.addcmul(self._offset, images.to(torch.float32), self._scale)

    def _augmented(self, images: Tensor, ids: Tensor) -> Tensor:
        seeds = seeds_for(self.seed, ids, self.view)
        if isinstance(self.transform, ShiftFlip):
            return self.transform(images, seeds)
        assert self.transform is not None
        each = zip(images, seeds.tolist(), strict=True)
        moved = [replay(self.transform, image, seed) for image, seed in each]
        for image in moved:
            # Pixels turned into 0 to 1 here would be scaled twice, and nobody would see it.
            if image.shape != images.shape[1:] or image.dtype != images.dtype:
                raise ShapeError(
                    f"{self.spec.name}: expected the augmentation to keep {images.dtype} "
                    f"{list(images.shape[1:])}, found {image.dtype} {shape(image)}; "
                    "crop or pad it back, and leave scaling to the data set"
                )
        return torch.stack(moved)


def _usual_max(images: Tensor, name: str) -> float:
    if not images.is_floating_point():
        return 255.0
    # Bytes that were cast to floats would otherwise be 255 times too bright, and nobody would see.
    if images.numel() and bool((images.min() < 0) | (images.max() > 1)):
        raise InputError(
            f"{name}: expected floating-point pixels from 0 to 1, found {images.min().item():.4g} "
            f"to {images.max().item():.4g}; give pixel_max=, and leave normalising to the data set"
        )
    return 1.0
