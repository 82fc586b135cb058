"""What every projector is: a module from the student's tensor to the teacher's shape."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import ShapeError


class Projector(nn.Module, ABC):
    """Abstract root of the projectors; subclasses are final.

    A projector sees the student's tensor only. Its parameters train with the student, and it is
    thrown away with the teacher when training ends.

    Class attributes:
        name: Its name in recipes and lists.
    """

    name: ClassVar[str]

    @abstractmethod
    def forward(self, student: Tensor) -> Tensor:
        """Return ``student`` in the teacher's shape."""

    def _mismatch(self, expected: str, found: Tensor, advice: str) -> ShapeError:
        return ShapeError(
            f"{type(self).__name__}: expected {expected}, found {_check.shape(found)}; {advice}"
        )
