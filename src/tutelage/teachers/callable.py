"""Any function from inputs to logits as a teacher: an exported model, another process, a rule."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import TeacherError
from tutelage.signals import Signals
from tutelage.teachers.output import logits_of


class CallableTeacher:
    """A black box: it shows its logits and nothing inside.

    Args:
        function: ``inputs -> logits``, called without gradient. It may return a mapping or an
            object with ``logits``. It must not change with the calls; nothing here can check that.

    Raises:
        TeacherError: ``function`` is a module, which FrozenTeacher freezes, or cannot be called.

    >>> CallableTeacher(lambda x: x.flatten(1))(torch.zeros(2, 1, 2, 2)).logits.shape
    torch.Size([2, 4])
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        if isinstance(function, nn.Module):
            raise TeacherError(
                f"CallableTeacher: expected a function, found the module "
                f"{type(function).__name__}, which nothing would freeze; use FrozenTeacher"
            )
        if not callable(function):
            raise TeacherError(
                f"CallableTeacher: expected a function from inputs to logits, "
                f"found {type(function).__name__}"
            )
        self.function = function

    def __call__(self, inputs: Any, ids: Tensor | None = None) -> Signals:
        """Return the function's logits ``[B, ...]`` for ``inputs``; ``ids`` are not used.

        Raises:
            TeacherError: What it returned is not one row of logits per input.
        """
        with torch.no_grad():
            logits = logits_of(self.function(inputs), inputs)
        return Signals(logits.detach())

    def provide(self, names: Sequence[str]) -> None:
        """Refuse: there are no layers to read.

        Raises:
            TeacherError: Any tap is asked for.
        """
        if names:
            raise TeacherError(
                f"CallableTeacher: it shows logits only, and {', '.join(names)} asked for; "
                "use losses on logits, or FrozenTeacher with the module itself"
            )

    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        """Do nothing: what a black box holds is its own concern."""

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield nothing: a black box shows no tensors."""
        yield from ()

    def close(self) -> None:
        """Do nothing: nothing was borrowed."""
