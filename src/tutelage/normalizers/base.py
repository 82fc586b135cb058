"""What every normaliser is: a module from the teacher's tensor to one of the same shape."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Normalizer(nn.Module, ABC):
    """Abstract root of the normalisers; subclasses are final.

    A normaliser has statistics but no parameters: the student learns to meet its output, and it
    learns nothing. It sees the teacher's tensors in float32 at least, without gradient. Statistics
    that are gathered over steps are gathered in training mode only.

    Class attributes:
        name: Its name in recipes and lists.
    """

    name: ClassVar[str]

    @abstractmethod
    def forward(self, teacher: Tensor) -> Tensor:
        """Return ``teacher`` normalised: maps ``[B, C, H, W]`` by channel, others by last axis."""
