"""How a model wants its images: statistics, size and channels."""

import math
from dataclasses import dataclass
from typing import Any

from torch import nn

from tutelage.errors import InputError

_INTERPOLATIONS = ("nearest", "bilinear", "bicubic")


@dataclass(frozen=True)
class InputSpec:
    """The image tensors that a model expects, or that a loader gives. ``None`` is "not known".

    Args:
        mean: Per channel, what was subtracted from pixels in ``[0, 1]``. A number is that of one
            channel.
        std: Per channel, what the difference was divided by. Goes with ``mean``.
        size: Height and width in pixels. A number is both.
        channels: Number of channels; follows from ``mean`` where that is given.
        interpolation: How to resize to ``size``: ``nearest``, ``bilinear`` or ``bicubic``.

    Raises:
        InputError: The fields are out of range or contradict each other.

    >>> InputSpec(mean=(0.5,), std=(0.25,)).channels
    1
    """

    # What is given as a number is stored as a tuple.
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    channels: int | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise InputError(
                f"InputSpec: expected mean and std together, found mean={self.mean} and "
                f"std={self.std}; give both or neither"
            )
        if self.mean is not None and self.std is not None:
            object.__setattr__(self, "mean", _numbers(self.mean, float, 1, "mean"))
            object.__setattr__(self, "std", _numbers(self.std, float, 1, "std"))
            self._check_statistics(self.mean, self.std)
        if self.size is not None:
            object.__setattr__(self, "size", _numbers(self.size, int, 2, "size"))
            if len(self.size) != 2 or min(self.size) < 1:
                raise InputError(
                    f"InputSpec.size: expected height and width of at least 1, found {self.size}"
                )
        if self.channels is not None and self.channels < 1:
            raise InputError(f"InputSpec.channels: expected at least 1, found {self.channels}")
        if self.interpolation not in _INTERPOLATIONS:
            raise InputError(
                f"InputSpec.interpolation: expected one of {', '.join(_INTERPOLATIONS)}, "
                f"found {self.interpolation!r}"
            )

    def _check_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        if len(mean) != len(std) or not mean:
            raise InputError(
                f"InputSpec: expected one mean and one std per channel, "
                f"found {len(mean)} means and {len(std)} stds"
            )
        if not all(map(math.isfinite, mean)) or not all(0 < s < math.inf for s in std):
            raise InputError(
                f"InputSpec: expected finite means and stds above 0, found {mean} and {std}"
            )
        if self.channels is None:
            object.__setattr__(self, "channels", len(mean))
        if self.channels != len(mean):
            raise InputError(
                f"InputSpec: expected {self.channels} means for {self.channels} channels, "
                f"found {len(mean)}"
            )


def _numbers(
    value: Any, kind: type[float] | type[int], repeat: int, name: str
) -> tuple[float, ...]:
    """Return a tuple of numbers; a bare number is repeated."""
    try:
        if isinstance(value, int | float):
            return (kind(value),) * repeat
        return tuple(kind(number) for number in value)
    except (TypeError, ValueError):
        raise InputError(
            f"InputSpec.{name}: expected numbers such as "
            f"{'(0.5, 0.5, 0.5)' if kind is float else '(224, 224)'}, found {value!r}"
        ) from None


def input_spec_of(model: nn.Module) -> InputSpec | None:
    """Return what a model's ``pretrained_cfg`` says of its inputs, or ``None`` if it has none.

    timm's models have one, and torchvision's if ``models.create(..., pretrained=True)`` built
    them. It describes the *published* weights: it is true of the model only if those are loaded.
    """
    config: Any = getattr(model, "pretrained_cfg", None)
    if not config or "mean" not in config or "std" not in config:
        return None
    size = config.get("input_size")
    interpolation = config.get("interpolation")
    return InputSpec(
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        size=(int(size[-2]), int(size[-1])) if size else None,
        interpolation=interpolation if interpolation in _INTERPOLATIONS else "bilinear",
    )
