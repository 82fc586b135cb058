"""Your own images: one folder per class, read by Pillow, augmented by torchvision."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tutelage.data.file_images import FileImages
from tutelage.data.folders import (
    Listing,
    check_each_file_once,
    check_same_classes,
    list_images,
    subfolders,
)
from tutelage.data.optional import pillow_image, torchvision_module
from tutelage.data.spec import DataSpec
from tutelage.data.splits import Splits, hold_out, make_splits
from tutelage.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_PARTS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}


def load_image_folder(
    *,
    root: str | Path | None = None,
    seed: int = 0,
    validation: int | float | None = None,
    labelled: int | None = None,
    test: int | float | None = None,
    split_seed: int = 0,
    size: int = 224,
    crop: float = 0.875,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    augment: str | Callable[[Any], Any] = "train",
    min_area: float = 0.08,
    verify: bool = False,
) -> Splits:
    """Return the images below ``root`` as RGB of ``size`` x ``size`` pixels.

    Two layouts. *Parts*: ``root/train/<class>/...``, ``root/val`` (or ``valid``, ``validation``)
    and ``root/test``. Where only one of the last two is there, it is the test set, because a
    final number must come from images that selected nothing; validation images are then held
    out of ``train``. *Classes*: ``root/<class>/...``; test and validation images are held out. Ids:
    position in the sorted list of files, ``train`` before validation before test.
    The names of the parts may be in capitals. Links are followed; a file must not come in twice.

    Args:
        root: The folder.
        seed: Seed of the choice of ``labelled`` and of augmentation.
        validation: Number or fraction of images to hold out for validation; by default a tenth.
        labelled: How many training images keep their label for the student; ``None`` for all.
        test: The same for the test set, where there is no folder for it.
        split_seed: Seed of the choice of held-out images.
        size: Height and width in pixels.
        crop: For evaluation: the part of the resized shorter side that is kept.
        mean: Three numbers in units of the full pixel range.
        std: Three numbers above 0.
        augment: ``"train"`` (random resized crop and mirror, by torchvision), ``"none"``, or a
            callable from a PIL image to one of the right size.
        min_area: For ``"train"``: the least part of an image's area that a crop shows.
        verify: Whether to look through all files for damaged ones now, not when they are read.

    Raises:
        InputError: When a folder is missing or empty, or there is only one class.
        DataError: When the parts have different classes, links bring one file in twice, or
            ``verify`` finds damaged files.
        ResourceError: When a folder may not be read.
        MissingPackageError: When Pillow or torchvision is needed and does not import.
    """
    if root is None:
        raise InputError("image-folder: expected root=<folder with class folders>, found no root")
    if size < 1:
        raise InputError(f"image-folder: size: expected at least 1 pixel, found {size}")
    parts = _parts(Path(root))
    pillow_image()  # fails here and not in the first batch
    given = {"validation": validation, "test": test}
    for name, value in given.items():
        if value is not None and name in parts:
            raise InputError(
                f"image-folder: {name}={value!r} would hold out images, but {str(root)!r} has a "
                f"{name} set of its own; drop {name}="
            )
    spec = DataSpec(
        "image-folder",
        len(parts["train"].classes),
        parts["train"].classes,
        channels=3,
        size=(size, size),
        mean=tuple(mean),
        std=tuple(std),
    )
    data = _data(
        parts, spec, crop=crop, transform=_augmentation(augment, size, min_area), seed=seed
    )
    if verify:
        for part in data.values():
            part.verify()
    train: Any = data["train"]
    if "test" in data:
        tested: Any = data["test"]
    else:
        train, tested = hold_out(train, 0.1 if test is None else test, seed=split_seed, part="test")
    return make_splits(
        train,
        tested,
        validation=data.get("validation") or (0.1 if validation is None else validation),
        labelled=labelled,
        seed=seed,
        split_seed=split_seed,
    )


def _parts(root: Path) -> dict[str, Listing]:
    folders = _by_role(root)
    # A class may be called "train": only with folders in it is it the training part.
    if "train" not in folders or not subfolders(root / folders["train"]):
        return {"train": list_images(root)}
    parts = {role: list_images(root / name) for role, name in folders.items()}
    for role, name in folders.items():
        check_same_classes(parts["train"], parts[role], part=name)
    check_each_file_once(parts.values())
    if "validation" in parts and "test" not in parts:
        parts["test"] = parts.pop("validation")
    return parts


def _by_role(root: Path) -> dict[str, str]:
    """Return the folders that are named as parts, in capitals or not: train, validation, test."""
    found: dict[str, list[str]] = {}
    for name in subfolders(root):
        for role, known in _PARTS.items():
            if name.lower() in known:
                found.setdefault(role, []).append(name)
    if "train" in found:
        for role, names in found.items():
            if len(names) > 1:
                raise InputError(
                    f"{str(root)!r}: expected one folder of {role} images, found "
                    f"{', '.join(map(repr, names))}; keep one of them"
                )
    return {role: found[role][0] for role in _PARTS if role in found}


def _data(parts: dict[str, Listing], spec: DataSpec, **options: Any) -> dict[str, FileImages]:
    data, first_id = {}, 0
    for name, listing in parts.items():
        count = len(listing.paths)
        data[name] = FileImages(
            listing.paths,
            torch.tensor(listing.labels),
            spec,
            ids=torch.arange(first_id, first_id + count),
            **options,
        )
        first_id += count
    return data


def _augmentation(
    augment: str | Callable[[Any], Any], size: int, min_area: float
) -> Callable[[Any], Any] | None:
    if callable(augment):
        return augment
    if augment not in ("train", "none"):
        raise InputError(f"augment: expected train, none or a callable, found {augment!r}")
    if augment == "none":
        return None
    if not 0 < min_area <= 1:
        raise InputError(f"min_area: expected above 0 and up to 1, found {min_area!r}")
    v2 = torchvision_module("transforms.v2")
    crop = v2.RandomResizedCrop((size, size), scale=(min_area, 1.0), antialias=True)
    transform: Callable[[Any], Any] = v2.Compose([crop, v2.RandomHorizontalFlip()])
    return transform
