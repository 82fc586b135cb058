"""What every projector is: a module from the student's tensor to the teacher's shape."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import InputError, ShapeError


class Projector(nn.Module, ABC):
    """Abstract root of the projectors; subclasses are final.

    A projector sees the student's tensor only. Its parameters train with the student, and it is
    thrown away with the teacher when training ends.

    Class attributes:
        name: Its name in recipes and lists.
        takes_layers: Whether ``forward`` takes a sequence of tensors, one for each layer.
    """

    name: ClassVar[str]
    takes_layers: ClassVar[bool] = False

    @classmethod
    def between(cls, student: Any, teacher: Any, **options: Any) -> Self:
        """Return the projector from ``student``'s tensor to the shape of ``teacher``'s.

        Args:
            student: A tensor of the student; a sequence of them where ``takes_layers``.
            teacher: The teacher's.
            options: What the two tensors do not tell, by the names of the constructor.

        Raises:
            ShapeError: If it cannot join the two.
        """
        raise InputError(f"{cls.__name__}: cannot read its widths off tensors; state them")

    @abstractmethod
    def forward(self, student: Any) -> Any:
        """Return ``student`` in the teacher's shape."""

    def _mismatch(self, expected: str, found: Tensor, advice: str) -> ShapeError:
        return ShapeError(
            f"{type(self).__name__}: expected {expected}, found {_check.shape(found)}; {advice}"
        )
