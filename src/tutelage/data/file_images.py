"""``FileImages``: a data set of image files, each read when it is asked for."""

import hashlib
import os
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.data.images import ImageData
from tutelage.data.optional import pillow_image
from tutelage.data.spec import DataSpec
from tutelage.data.views import replay, seed_for
from tutelage.errors import DataError, InputError, ShapeError

# What Pillow raises on damaged files, besides its own errors, which are OSErrors.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error)

_READ = 64  # files whose content counts for the fingerprint; of the others name and size do


class FileImages(ImageData):
    """Image files, read by Pillow as RGB: ``(pixel / 255 - mean) / std``.

    Without ``transform`` the shorter side is resized to ``size / crop`` and the centre is cut
    out. A ``transform`` stands in the place of both, and is replayed for each view.

    Args:
        paths: One file per image.
        targets: Class indices.
        spec: Classes, shape and normalisation; 3 channels.
        ids: Stable sample ids, int64; by default the position.
        crop: The part of the resized shorter side that is kept, above 0 and up to 1.
        transform: Random augmentation: from a PIL image to a PIL image of ``spec.size``.
        seed: Seed of the augmentation.

    Raises:
        InputError: When ``paths`` and ``targets`` differ in number.
        DataError: When a label is outside the classes; on access, when an image is unreadable.
    """

    transform: Callable[[Any], Any] | None

    def __init__(
        self,
        paths: Sequence[str | Path],
        targets: Int[Tensor, "N"],
        spec: DataSpec,
        *,
        ids: Int[Tensor, "N"] | None = None,
        crop: float = 0.875,
        transform: Callable[[Any], Any] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(targets, ids, spec, transform=transform, seed=seed)
        if len(paths) != len(targets):
            raise InputError(
                f"{spec.name}: expected one path per label, found {len(paths)} paths and "
                f"{len(targets)} labels"
            )
        if not 0 < crop <= 1:
            raise InputError(f"{spec.name}: crop: expected above 0 and up to 1, found {crop!r}")
        self._paths = [str(path) for path in paths]
        self._crop = crop
        self._mean = torch.tensor(spec.mean).view(-1, 1, 1)
        self._std = torch.tensor(spec.std).view(-1, 1, 1)

    @property
    def paths(self) -> list[str]:
        """The file of each image, in the order of ``targets``."""
        return [self._paths[row] for row in self._rows.tolist()]

    def verify(self) -> None:
        """Look for damaged files without decoding them: headers, and checksums where there are.

        Raises:
            DataError: When a file is not a whole image; the message names up to ten.
        """
        faults = [fault for path in self.paths if (fault := _fault(path))]
        if faults:
            shown = "".join(f"\n  {fault}" for fault in faults[:10])
            more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
            raise DataError(
                f"{self.spec.name}: expected {len(self)} readable images, found {len(faults)} "
                f"unreadable:{shown}{more}\nreplace or remove them"
            )

    def content_digest(self) -> str:
        """Return the sha256 of each file's name and size, and of the bytes of a few of them.

        Names count from the folder that all files share, so that a moved data set stays the same.
        64 files, evenly spread over the ids, are read; the others are not, which would take as long
        as an epoch.

        Raises:
            DataError: When a file is gone or cannot be read.
        """
        paths = [self._paths[row] for row in self.rows_by_id().tolist()]
        shared = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
        read = set(np.linspace(0, len(paths) - 1, min(_READ, len(paths))).astype(int).tolist())
        total = hashlib.sha256()
        for number, path in enumerate(paths):
            try:
                name = Path(os.path.relpath(path, shared)).as_posix()
                total.update(f"{name}\0{os.stat(path).st_size}\0".encode())
                if number in read:
                    total.update(Path(path).read_bytes())
            except OSError as error:
                raise DataError(
                    f"{path!r}: expected a readable image, found: {_reason(error)}; replace it"
                ) from error
        return total.hexdigest()

    def preparation(self) -> dict[str, Any]:
        """Return how images are resized where no augmentation does that."""
        return {} if self.transform is not None else {"crop": self._crop, "resize": "bilinear"}

    def _inputs(self, rows: Tensor, ids: Tensor) -> Float[Tensor, "B 3 H W"]:
        pairs: Iterable[tuple[int, int]] = zip(rows.tolist(), ids.tolist(), strict=True)
        pixels = torch.stack([self._pixels(row, sample_id) for row, sample_id in pairs])
        return pixels.to(torch.float32).div_(255).sub_(self._mean).div_(self._std)

    def _pixels(self, row: int, sample_id: int) -> Tensor:
        image = read_image(self._paths[row])
        if self.transform is None:
            image = self._centre(image)
        else:
            image = replay(self.transform, image, seed_for(self.seed, sample_id, self.view))
        if not isinstance(image, pillow_image().Image):
            raise InputError(
                f"{self.spec.name}: expected the augmentation to give a PIL image, found "
                f"{type(image).__name__}; end it before the conversion to a tensor"
            )
        pixels = np.array(image)
        if pixels.shape != (*self.spec.size, 3):
            raise ShapeError(
                f"{self.spec.name}: expected the augmentation to give RGB images "
                f"{[*self.spec.size, 3]}, found {list(pixels.shape)}; end it with a crop or resize"
            )
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def _centre(self, image: Any) -> Any:
        """Resize and cut, rounding as torchvision's ``Resize`` and ``CenterCrop`` do."""
        height, width = self.spec.size
        factor = max(
            round(height / self._crop) / image.height, round(width / self._crop) / image.width
        )
        rounded = [int(side * factor + 1e-6) for side in image.size]
        resized = max(width, rounded[0]), max(height, rounded[1])
        left, top = round((resized[0] - width) / 2), round((resized[1] - height) / 2)
        whole = image.resize(resized, pillow_image().Resampling.BILINEAR)
        return whole.crop((left, top, left + width, top + height))


def read_image(path: str) -> Any:
    """Return the file's image in RGB.

    Raises:
        DataError: When it cannot be read; the message names it.
    """
    module = pillow_image()
    try:
        with module.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"{image.mode} pixels, more than 8 bits; convert them first")
            if "transparency" in image.info:
                image = image.convert("RGBA")
            return image.convert("RGB")
    except (*_UNREADABLE, module.DecompressionBombError) as error:
        raise DataError(
            f"{path!r}: expected a readable image, found: {_reason(error)}; replace or remove it"
        ) from error


def _fault(path: str) -> str | None:
    module = pillow_image()
    try:
        with module.open(path) as image:
            image.verify()
    except (*_UNREADABLE, module.DecompressionBombError) as error:
        return f"{path!r}: {_reason(error)}"
    return None


def _reason(error: BaseException) -> str:
    """Return the error in one line; Pillow's texts repeat the path, some without escaping it."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "it is no image that Pillow knows" if "cannot identify" in text else ascii(text)[1:-1]
