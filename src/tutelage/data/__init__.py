"""Data sets by name; every sample carries an id, every random view can be replayed."""

import inspect
from collections.abc import Callable
from typing import Any

from tutelage.data.augment import ShiftFlip
from tutelage.data.batch import Batch
from tutelage.data.batches import GlobalBatches, Loader, collate, loader
from tutelage.data.digits import load_digits
from tutelage.data.fashion_mnist import load_fashion_mnist
from tutelage.data.file_images import FileImages
from tutelage.data.image_folder import load_image_folder
from tutelage.data.images import ImageData
from tutelage.data.mixing import mixed
from tutelage.data.replayable import check_replayable
from tutelage.data.spec import DataSpec
from tutelage.data.splits import Splits, make_splits
from tutelage.data.tensor_images import TensorImages
from tutelage.data.views import replay, seed_for
from tutelage.errors import InputError, did_you_mean

__all__ = [
    "Batch",
    "DataSpec",
    "FileImages",
    "GlobalBatches",
    "ImageData",
    "Loader",
    "ShiftFlip",
    "Splits",
    "TensorImages",
    "check_replayable",
    "collate",
    "index",
    "load",
    "load_digits",
    "load_fashion_mnist",
    "load_image_folder",
    "loader",
    "make_splits",
    "mixed",
    "replay",
    "seed_for",
]


def index() -> dict[str, Callable[..., Splits]]:
    """Return the loader of each data set by the name that recipes use.

    >>> sorted(index())
    ['digits', 'fashion-mnist', 'image-folder']
    """
    return {
        "digits": load_digits,
        "fashion-mnist": load_fashion_mnist,
        "image-folder": load_image_folder,
    }


def load(
    name: str,
    *,
    seed: int = 0,
    validation: int | float | None = None,
    labelled: int | None = None,
    **options: Any,
) -> Splits:
    """Return the data set called ``name``.

    Args:
        name: One of :func:`index`.
        seed: Seed of the choice of ``labelled`` and of augmentation; never of the test or
            validation images (``split_seed`` is theirs).
        validation: Number or fraction of the training images to hold out; ``None`` for the data
            set's own default.
        labelled: How many training images keep their label for the student; ``None`` for all.
        **options: The data set's own options; see its function in :func:`index`.

    Raises:
        InputError: When the name, an option or a number is wrong, or files are missing.
        DataError: When files are damaged.

    >>> load("digits", labelled=100).labelled.targets.bincount().min() > 0
    tensor(True)
    """
    known = index()
    if name not in known:
        raise InputError(f"data: unknown data set {name!r}; {did_you_mean(name, known)}")
    accepted = inspect.signature(known[name]).parameters
    for option in options:
        if option not in accepted:
            raise InputError(f"{name}: unknown option {option!r}; {did_you_mean(option, accepted)}")
    if validation is not None:
        options["validation"] = validation
    return known[name](seed=seed, labelled=labelled, **options)
