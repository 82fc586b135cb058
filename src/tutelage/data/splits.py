"""``Splits``: what a run trains on, selects on and is tested on."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tutelage.data.images import ImageData
from tutelage.data.labels import check_several_classes
from tutelage.data.seeds import permutation
from tutelage.data.spec import DataSpec
from tutelage.errors import DataError, InputError


@dataclass(frozen=True)
class Splits:
    """The parts of one data set; no image is in two of ``train``, ``validation`` and ``test``.

    Args:
        train: All training images: the teacher learns from them and may label them for the
            student.
        labelled: The training images whose labels the student may see; ``train`` itself unless
            fewer were asked for.
        validation: Images held out of the training data, for selecting a model.
        test: Images that only the final evaluation sees.
        spec: Classes, shape and normalisation.

    Raises:
        DataError: When two parts share a sample id, or ``labelled`` is not part of ``train``.
    """

    train: ImageData
    labelled: ImageData
    validation: ImageData
    test: ImageData
    spec: DataSpec

    def __post_init__(self) -> None:
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            shared = np.intersect1d(getattr(self, first).ids, getattr(self, second).ids)
            if len(shared):
                raise DataError(
                    f"{self.spec.name}: expected {first} and {second} without a common sample, "
                    f"found {len(shared)} shared ids, first {shared[0]}; "
                    "give each image an id of its own over all parts"
                )
        if not torch.isin(self.labelled.ids, self.train.ids).all():
            raise DataError(
                f"{self.spec.name}: expected the labelled images among the training images, "
                "found ids that are not in train; take labelled with train.subset(...)"
            )


def make_splits(
    train: ImageData,
    test: ImageData,
    *,
    validation: int | float | ImageData,
    labelled: int | None = None,
    seed: int = 0,
    split_seed: int = 0,
) -> Splits:
    """Return the splits of a data set that comes as training and test images.

    Args:
        train: All training images, with their augmentation if any.
        test: The test images.
        validation: How many training images to hold out, or which fraction (0 to 1), or the
            validation images themselves where the data set has its own.
        labelled: How many of the remaining training images keep their label for the student:
            a random choice with at least one of each class. ``None``: all of them.
        seed: Seed of the choice of ``labelled`` only.
        split_seed: Seed of the choice of validation images. It is apart from ``seed`` because
            runs with several seeds share one teacher, whose training images must be in no run's
            validation set.

    Raises:
        InputError: When a part would be empty or a class would be missing from it.
    """
    name = train.spec.name
    check_several_classes(train.targets, train.spec.class_names, where=name)
    if not isinstance(validation, ImageData):
        kept, held = hold_out(train, validation, seed=split_seed, part="validation")
        train, validation = kept, held
    return Splits(
        train=train,
        labelled=train if labelled is None else _labelled(train, labelled, seed),
        validation=validation.plain(),
        test=test.plain(),
        spec=train.spec,
    )


def hold_out(
    data: ImageData, size: int | float, *, seed: int, part: str
) -> tuple[ImageData, ImageData]:
    """Return what stays, and ``size`` random images with all classes in proportion.

    Each image gets the quantile ``(rank in its class + 1/2) / class size`` in a random order; the
    lowest quantiles are held out. A class thus loses its share, and a lone image stays.

    Args:
        data: The images to divide; both parts keep its order.
        size: A number of images from 1, or a fraction between 0 and 1.
        seed: Seed of the random order.
        part: What the held-out images are called in messages, which also seeds their order.
    """
    count = _count(size, len(data), f"{data.spec.name}: {part}")
    order = permutation(len(data), "hold out", part, seed)
    targets = data.targets.numpy()[order]
    quantile = np.empty(len(data))
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        quantile[members] = (np.arange(len(members)) + 0.5) / len(members)
    ranked = torch.from_numpy(order[np.argsort(quantile, kind="stable")])
    held, kept = ranked[:count].sort().values, ranked[count:].sort().values
    lost = set(data.targets.tolist()) - set(data.targets[kept].tolist())
    if lost:
        names = ", ".join(repr(data.spec.class_names[label]) for label in sorted(lost))
        raise InputError(
            f"{data.spec.name}: expected images of every class to stay for training, found none "
            f"of {names} after {count} of {len(data)} became the {part} set; lower {part}="
        )
    return data.subset(kept), data.subset(held)


def _count(size: int | float, total: int, name: str) -> int:
    is_number = isinstance(size, int | float) and not isinstance(size, bool)
    if is_number and isinstance(size, float) and 0 < size < 1:
        size = max(1, round(size * total))
    if not is_number or not isinstance(size, int) or not 1 <= size < total:
        raise InputError(
            f"{name}: expected a number of images from 1 to {total - 1}, or a fraction between "
            f"0 and 1, found {size!r}"
        )
    return size


def _labelled(train: ImageData, count: int, seed: int) -> ImageData:
    present = len(set(train.targets.tolist()))
    if isinstance(count, bool) or not isinstance(count, int) or not present <= count <= len(train):
        raise InputError(
            f"{train.spec.name}: labelled: expected a number of images from {present} (one of "
            f"each class) to {len(train)} (all training images), found {count!r}"
        )
    order = torch.from_numpy(permutation(len(train), "labelled", seed))
    return train.subset(_with_every_class(order, train.targets, count).sort().values)


def _with_every_class(order: Tensor, targets: Tensor, count: int) -> Tensor:
    """Return the first ``count`` of ``order``, late ones swapped for classes that are missing."""
    chosen = order[:count].tolist()
    shares = torch.bincount(targets[order[:count]], minlength=int(targets.max()) + 1).tolist()
    last = count - 1
    for position in order[count:].tolist():
        label = int(targets[position])
        if shares[label]:
            continue
        while shares[int(targets[chosen[last]])] < 2:
            last -= 1
        shares[int(targets[chosen[last]])] -= 1
        shares[label] = 1
        chosen[last] = position
        last -= 1
    return torch.tensor(chosen)
