"""The scan of a data set's labels, made once when it is loaded."""

from torch import Tensor

from tutelage.errors import DataError, InputError


def check_labels(targets: Tensor, num_classes: int, *, where: str) -> None:
    """Raise unless every label is a class index from 0 to ``num_classes - 1``.

    Args:
        targets: Integer labels ``[N]``.
        num_classes: How many classes there are.
        where: Which data set, at the start of the message (``"digits"``).

    Raises:
        InputError: When there is no label, or labels are not whole numbers in one row.
        DataError: When a label is outside the range; the message names the first one.
    """
    if targets.dim() != 1 or targets.is_floating_point() or targets.is_complex():
        raise InputError(
            f"{where}: expected whole-number labels of shape [N], found {targets.dtype} "
            f"{list(targets.shape)}; give one class index per image"
        )
    if len(targets) == 0:
        raise InputError(f"{where}: expected at least one image, found an empty data set")
    outside = ((targets < 0) | (targets >= num_classes)).nonzero().flatten()
    if len(outside):
        first = int(outside[0])
        raise DataError(
            f"{where}: expected labels from 0 to {num_classes - 1} (C = {num_classes} classes), "
            f"found {int(targets[first])} at index {first} ({len(outside)} such labels); "
            "correct the labels or the number of classes"
        )


def check_several_classes(targets: Tensor, class_names: tuple[str, ...], *, where: str) -> None:
    """Raise ``InputError`` when all samples belong to one class: nothing could be learned."""
    if int(targets.min()) == int(targets.max()):
        only = class_names[int(targets[0])]
        raise InputError(
            f"{where}: expected images of at least 2 classes, found only class {only!r} "
            f"({len(targets)} images); add images of another class"
        )
