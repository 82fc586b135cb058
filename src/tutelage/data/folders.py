"""Finding the images in class folders: names and paths, no pixels."""

import os
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import DataError, InputError

ENDINGS = (
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)


@dataclass(frozen=True)
class Listing:
    """The images below one folder, sorted by class and then by path.

    Args:
        classes: The names of the class folders, sorted.
        paths: The image files.
        labels: For each file, the position of its class in ``classes``.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]


def list_images(folder: Path) -> Listing:
    """Return the images in the class folders of ``folder``, at any depth; hidden ones are skipped.

    Raises:
        InputError: When the folder is missing, has no class folders, or one of them has no image.
    """
    classes = subfolders(folder)
    if not classes:
        raise InputError(
            f"{str(folder)!r}: expected one folder per class with images in it, found "
            f"{_inventory(folder)}; move the images of each class into a folder of its name"
        )
    found = [_images(folder / name) for name in classes]
    empty = [name for name, paths in zip(classes, found, strict=True) if not paths]
    if empty:
        raise InputError(
            f"{str(folder)!r}: expected images in each class folder, found none in "
            f"{', '.join(map(repr, empty[:10]))}; known endings: {', '.join(ENDINGS)}; "
            "add images or remove the folder"
        )
    return Listing(
        classes=tuple(classes),
        paths=tuple(path for paths in found for path in paths),
        labels=tuple(label for label, paths in enumerate(found) for _ in paths),
    )


def subfolders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in ``folder`` that are not hidden.

    Raises:
        InputError: When ``folder`` is missing or not a folder.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"{str(folder)!r}: expected a folder of images, found: {error.strerror}; check root="
        ) from error


def check_same_classes(train: Listing, other: Listing, *, part: str) -> None:
    """Raise ``DataError`` unless ``other`` has the class folders of ``train``."""
    if train.classes != other.classes:
        missing = sorted(set(train.classes) - set(other.classes))
        extra = sorted(set(other.classes) - set(train.classes))
        raise DataError(
            f"image-folder: expected the same class folders in train and {part}, found "
            f"only in train: {missing[:10]}, only in {part}: {extra[:10]}; "
            "rename or add folders until both agree"
        )


def _images(folder: Path) -> list[str]:
    paths = []
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(ENDINGS) and not name.startswith("."):
                paths.append(os.path.join(parent, name))
    return sorted(paths)


def _inventory(folder: Path) -> str:
    names = sorted(entry.name for entry in os.scandir(folder))
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} files and no folder ({shown})" if names else "an empty folder"
