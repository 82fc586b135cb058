"""Finding the images in class folders: names and paths, no pixels."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tutelage.errors import DataError, InputError, ResourceError

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
        targets: For each file, where it really lies, once all links are followed.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    targets: tuple[str, ...]


def list_images(folder: Path) -> Listing:
    """Return the images in the class folders of ``folder``, at any depth; hidden ones are skipped.

    Links to folders are followed, but into no folder twice within one class.

    Raises:
        InputError: When the folder is missing, has no class folders, or one of them has no image.
        DataError: When links bring one file in twice.
        ResourceError: When a folder inside may not be read.
    """
    classes = subfolders(folder)
    if not classes:
        raise InputError(
            f"{str(folder)!r}: expected one folder per class with images in it, found "
            f"{_inventory(folder)}; move the images of each class into a folder of its name"
        )
    found = [_images(folder / name) for name in classes]
    empty = [name for name, images in zip(classes, found, strict=True) if not images]
    if empty:
        raise InputError(
            f"{str(folder)!r}: expected images in each class folder, found none in "
            f"{', '.join(map(repr, empty[:10]))}; known endings: {', '.join(ENDINGS)}; "
            "add images or remove the folder"
        )
    listing = Listing(
        classes=tuple(classes),
        paths=tuple(path for images in found for path, _ in images),
        labels=tuple(label for label, images in enumerate(found) for _ in images),
        targets=tuple(target for images in found for _, target in images),
    )
    check_each_file_once([listing])
    return listing


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


def check_each_file_once(listings: Iterable[Listing]) -> None:
    """Raise ``DataError`` if one file is listed twice: it would be trained on and tested with."""
    seen: dict[str, str] = {}
    for listing in listings:
        for path, target in zip(listing.paths, listing.targets, strict=True):
            if target in seen:
                raise DataError(
                    f"image-folder: expected every image once, found that {seen[target]!r} and "
                    f"{path!r} are one file; remove the link"
                )
            seen[target] = path


def _images(folder: Path) -> list[tuple[str, str]]:
    """Return the path of each image below ``folder``, and where it really lies."""
    found, seen = [], set()
    # Links come last, so that a folder is known by its own path.
    folders, links = [str(folder)], list[str]()
    while folders or links:
        parent = (folders or links).pop()
        place = os.path.realpath(parent)
        if place in seen:  # a link has led back
            continue
        seen.add(place)
        for entry in _entries(parent):
            if _is_folder(entry):
                (links if entry.is_symlink() else folders).append(entry.path)
            elif entry.name.lower().endswith(ENDINGS):
                is_link = entry.is_symlink()
                target = os.path.realpath(entry.path) if is_link else f"{place}{os.sep}{entry.name}"
                found.append((entry.path, target))
    return sorted(found)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """Return what is in a folder and not hidden, by name."""
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
            return sorted(shown, key=lambda entry: entry.name)
    except OSError as error:
        raise ResourceError(
            f"cannot read {folder!r}: {error.strerror or error}; give permission or move it away"
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _inventory(folder: Path) -> str:
    names = sorted(entry.name for entry in os.scandir(folder))
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} files and no folder ({shown})" if names else "an empty folder"
