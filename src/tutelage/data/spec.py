"""``DataSpec``: what a model must know about a data set."""

import math
from dataclasses import dataclass

from tutelage.errors import InputError


@dataclass(frozen=True)
class DataSpec:
    """The shape, the classes and the normalisation of a data set's images.

    A loader turns a pixel ``p`` (from 0 to 1) of channel ``c`` into ``(p - mean[c]) / std[c]``.

    Args:
        name: The name under which the data set is loaded.
        num_classes: How many classes there are; labels run from 0 to ``num_classes - 1``.
        class_names: The name of each class, in the order of the labels.
        channels: Colour channels of an image.
        size: Height and width in pixels.
        mean: One number per channel, in units of the full pixel range.
        std: One number above 0 per channel, in the same units.

    Raises:
        InputError: When the numbers contradict each other.
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...]
    channels: int
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.class_names) != self.num_classes:
            raise InputError(
                f"DataSpec {self.name!r}: expected {self.num_classes} class names "
                f"(num_classes), found {len(self.class_names)}; name each class once"
            )
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise InputError(
                f"DataSpec {self.name!r}: expected mean and std with {self.channels} numbers "
                f"(one per channel), found {len(self.mean)} and {len(self.std)}"
            )
        if not all(math.isfinite(value) for value in (*self.mean, *self.std)):
            raise InputError(
                f"DataSpec {self.name!r}: expected finite numbers, found mean={self.mean} and "
                f"std={self.std}; measure them on the training images"
            )
        if not all(value > 0 for value in self.std):
            raise InputError(
                f"DataSpec {self.name!r}: expected every std above 0, found {self.std}; "
                "use 1.0 for a channel that is not scaled"
            )
