"""What every normaliser is: a module from the teacher's tensor to one of the same shape."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Self

from torch import Tensor, nn


class Normalizer(nn.Module, ABC):
    """Abstract root of the normalisers; subclasses are final.

    A normaliser has statistics but no parameters: the student learns to meet its output, and it
    learns nothing. It sees the teacher's tensors in float32 at least, without gradient. Statistics
    that are gathered over steps are gathered in training mode only. They follow the module to a
    device but not to a dtype: sums in half precision would stop growing.

    Class attributes:
        name: Its name in recipes and lists.
    """

    name: ClassVar[str]

    @abstractmethod
    def forward(self, teacher: Tensor) -> Tensor:
        """Return ``teacher`` normalised: maps ``[B, C, H, W]`` by channel, others by last axis."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in self._buffers.items():
            kept = before[name]
            if buffer is not None and kept is not None and buffer.dtype != kept.dtype:
                self._buffers[name] = kept.to(buffer.device)
        return self
