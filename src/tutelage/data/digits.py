"""The embedded handwritten digits: 1,797 real 8x8 images, CC BY 4.0 (see ``digits.txt``).

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998, doi:10.24432/C50P49; the 1,797 test images, which scikit-learn ships too.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tutelage.data.augment import augmentation
from tutelage.data.seeds import permutation
from tutelage.data.spec import DataSpec
from tutelage.data.splits import Splits, make_splits
from tutelage.data.tensor_images import TensorImages
from tutelage.errors import DataError

FILE = Path(__file__).with_name("digits.npz")
SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"
TRAIN_IMAGES = 1000
PIXEL_MAX = 16.0

SPEC = DataSpec(
    name="digits",
    num_classes=10,
    class_names=tuple("0123456789"),
    channels=1,
    size=(8, 8),
    mean=(0.3050,),
    std=(0.3762,),
)


def load_digits(
    *,
    seed: int = 0,
    validation: int | float = 200,
    labelled: int | None = None,
    split_seed: int = 0,
    augment: str = "none",
) -> Splits:
    """Return the handwritten digits: 1,000 training and 797 test images.

    The test set is always the same: the last 797 of the images in the order
    ``permutation(1797, "digits")``. The id of an image is its row in the file. Mean and standard
    deviation, 0.3050 and 0.3762, are those of the 1,000 training images' pixels.

    Args:
        seed: Seed of the choice of ``labelled`` and of augmentation.
        validation: Number or fraction of the 1,000 training images to hold out.
        labelled: How many training images keep their label for the student; ``None`` for all.
        split_seed: Seed of the choice of validation images.
        augment: ``"none"``, ``"shift"`` (one pixel) or ``"shift-flip"``.

    Raises:
        InputError: When a number is out of its range.
        DataError: When the embedded file is damaged.

    >>> splits = load_digits(labelled=100)
    >>> [len(part) for part in (splits.train, splits.labelled, splits.validation, splits.test)]
    [800, 100, 200, 797]
    """
    images, targets = _read(FILE)
    order = torch.from_numpy(permutation(len(targets), "digits"))
    data = TensorImages(
        images,
        targets,
        SPEC,
        pixel_max=PIXEL_MAX,
        transform=augmentation(augment, SPEC.size),
        seed=seed,
    )
    return make_splits(
        data.subset(order[:TRAIN_IMAGES].sort().values),
        data.subset(order[TRAIN_IMAGES:].sort().values),
        validation=validation,
        labelled=labelled,
        seed=seed,
        split_seed=split_seed,
    )


def _read(file: Path) -> tuple[Tensor, Tensor]:
    """Return the images, uint8 ``[1797, 1, 8, 8]``, and the labels, int64 ``[1797]``."""
    content = file.read_bytes() if file.exists() else b""
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256:
        raise DataError(
            f"digits: {str(file)!r}: expected SHA-256 {SHA256[:12]}..., found {found[:12]}... "
            f"({len(content)} bytes): the embedded file is damaged; reinstall tutelage"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels.astype(np.int64))
