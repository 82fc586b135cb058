"""What every teacher does, whatever it is made of."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from tutelage.signals import Signals


@runtime_checkable
class Teacher(Protocol):
    """Gives signals for inputs, without gradient and without changing its state."""

    def __call__(self, inputs: Any, ids: Tensor | None = None) -> Signals:
        """Return the teacher's signals for the *student's* inputs.

        Args:
            inputs: The batch as the student sees it, a tensor ``[B, ...]``, a tuple of arguments
                or a mapping of keywords. The teacher converts it for itself.
            ids: The samples' ids ``[B]``, for teachers that look their signals up.
        """

    def provide(self, names: Sequence[str]) -> None:
        """Promise that each following call returns these taps, beside those promised before.

        Raises:
            TapError: A tap is unknown.
            TeacherError: This teacher has no inner layers to show.
        """

    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        """Replace each of the teacher's tensors by ``function(tensor)``, to move or cast it."""

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and tensor of every parameter and buffer, to prove none is shared."""

    def close(self) -> None:
        """Give back what was borrowed: hooks, modes, ``requires_grad``.

        Whoever called :meth:`provide` calls it once; a shared teacher gives back with the last.
        """
