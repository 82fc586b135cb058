"""Fashion-MNIST: 70,000 grey 28x28 images of ten kinds of clothes, MIT licence.

H. Xiao, K. Rasul and R. Vollgraf, arXiv:1708.07747. Nothing is embedded and nothing is fetched
unless asked for: the four idx files are looked for in the usual places.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tutelage.data.augment import augmentation
from tutelage.data.idx import read_idx
from tutelage.data.optional import torchvision_module
from tutelage.data.spec import DataSpec
from tutelage.data.splits import Splits, make_splits
from tutelage.data.tensor_images import TensorImages
from tutelage.errors import DataError, InputError

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

SPEC = DataSpec(
    name="fashion-mnist",
    num_classes=10,
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    channels=1,
    size=(28, 28),
    mean=(0.2860,),
    std=(0.3530,),
)

# Of all training pixels, for each height and width; the mean stays.
_STD = {28: 0.3530, 14: 0.3301, 7: 0.3027}


def load_fashion_mnist(
    *,
    seed: int = 0,
    validation: int | float = 5000,
    labelled: int | None = None,
    split_seed: int = 0,
    augment: str | Callable[[Tensor], Tensor] = "none",
    size: int = 28,
    root: str | Path | None = None,
    download: bool = False,
) -> Splits:
    """Return Fashion-MNIST: 60,000 training and 10,000 test images.

    The files, packed (``.gz``) or not, are looked for in ``$TUTELAGE_DATA/fashion-mnist``,
    ``$TUTELAGE_DATA``, ``/usr/share/datasets/fashion-mnist`` (Debian's package
    ``dataset-fashion-mnist``) and ``data/FashionMNIST/raw`` (torchvision's place); with ``root``
    only there. Ids: training images have 0 to 59,999, test images follow. Mean and standard
    deviation, 0.2860 and 0.3530, are those of all training pixels. Pixels stay uint8 in memory.

    Args:
        seed: Seed of the choice of ``labelled`` and of augmentation.
        validation: Number or fraction of the training images to hold out.
        labelled: How many training images keep their label for the student; ``None`` for all.
        split_seed: Seed of the choice of validation images.
        augment: ``"none"``, ``"shift"`` (two pixels), ``"shift-flip"``, or a callable on one
            raw image, uint8 ``[1, 28, 28]``.
        size: Height and width in pixels: 28, or 14 or 7, where each pixel is the mean of a square.
            A convolution then costs a quarter, or a sixteenth.
        root: The folder that holds the four files, or torchvision's root above it.
        download: Whether torchvision may fetch missing files, into ``root`` or ``data``.

    Raises:
        InputError: When the files are nowhere; the message lists the places.
        DataError: When a file is damaged or they contradict each other.
        MissingPackageError: When ``download`` needs torchvision and it does not import.
    """
    if size not in _STD:
        raise InputError(
            f"fashion-mnist: expected size to be one of {', '.join(map(str, _STD))}, found {size!r}"
        )
    folder = _find(root, download=download)
    train = _part(folder, *FILES[:2], first_id=0, size=size)
    test = _part(folder, *FILES[2:], first_id=len(train), size=size)
    train.transform = augmentation(augment, train.spec.size)
    train.seed = seed
    return make_splits(
        train,
        test,
        validation=validation,
        labelled=labelled,
        seed=seed,
        split_seed=split_seed,
    )


def _part(
    folder: Path, images_name: str, labels_name: str, *, first_id: int, size: int
) -> TensorImages:
    images_path, labels_path = _file(folder, images_name), _file(folder, labels_name)
    assert images_path is not None
    assert labels_path is not None
    images, labels = read_idx(images_path, axes=3), read_idx(labels_path, axes=1)
    if len(images) != len(labels):
        raise DataError(
            f"{str(labels_path)!r}: expected one label for each of the {len(images)} images in "
            f"{images_path.name!r}, found {len(labels)}; fetch both files again"
        )
    if images.shape[1:] != SPEC.size:
        raise DataError(
            f"{str(images_path)!r}: expected images of 28x28 pixels, "
            f"found {images.shape[1]}x{images.shape[2]}; is it another data set?"
        )
    pixels = torch.from_numpy(images)[:, None]
    if size != 28:
        pixels = F.avg_pool2d(pixels.float(), 28 // size).round().to(torch.uint8)
    return TensorImages(
        pixels,
        torch.from_numpy(labels.astype(np.int64)),
        replace(SPEC, size=(size, size), std=(_STD[size],)),
        ids=torch.arange(first_id, first_id + len(labels)),
    )


def _find(root: str | Path | None, *, download: bool) -> Path:
    places = _places(root)
    for place in places:
        if all(_file(place, name) for name in FILES):
            return place
    if download:
        target = Path(root or "data")
        torchvision_module("datasets").FashionMNIST(str(target), download=True)
        return target / "FashionMNIST" / "raw"
    searched = "".join(f"\n  {str(place)!r}" for place in places)
    raise InputError(
        f"fashion-mnist: expected the four files {', '.join(FILES)} (.gz or unpacked) in one "
        f"folder, found them in none of these:{searched}\n"
        "install them (Debian, Ubuntu: apt install dataset-fashion-mnist), point root= or "
        "TUTELAGE_DATA to them, or let torchvision fetch them with download=True"
    )


def _places(root: str | Path | None) -> list[Path]:
    if root is not None:
        return [Path(root), Path(root) / "fashion-mnist", Path(root) / "FashionMNIST" / "raw"]
    home = os.environ.get("TUTELAGE_DATA")
    own = [Path(home) / "fashion-mnist", Path(home)] if home else []
    return [*own, Path("/usr/share/datasets/fashion-mnist"), Path("data/FashionMNIST/raw")]


def _file(folder: Path, name: str) -> Path | None:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    return None
