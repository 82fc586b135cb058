"""A teacher that is asked about each image once: what the arms of a comparison are measured by."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from tutelage.errors import TeacherError
from tutelage.signals import Signals
from tutelage.teachers import Teacher


class Remembered:
    """Gives a teacher's logits again for ids it has seen; for images that never change.

    Evaluation shows every arm the same images in the same way. Asking a big teacher each time
    can take longer than to train a small student.

    Args:
        teacher: Whom to ask, once.
    """

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher
        self._rows: dict[int, Tensor] = {}

    def __call__(self, inputs: Tensor, ids: Tensor | None = None) -> Signals:
        """Return the logits for ``inputs``; without ids the teacher is asked."""
        if ids is None:
            return self.teacher(inputs)
        keys = ids.tolist()
        if not all(key in self._rows for key in keys):
            logits = self.teacher(inputs, ids).logits
            if not isinstance(logits, Tensor):
                found = "none" if logits is None else repr(logits)
                raise TeacherError(
                    f"reference teacher: expected logits of all classes, found {found}; give one "
                    "that shows them"
                )
            self._rows.update(zip(keys, logits.cpu(), strict=True))
        return Signals(torch.stack([self._rows[key] for key in keys]).to(inputs.device))

    def provide(self, names: Sequence[str]) -> None:
        """Promise taps; this teacher remembers none."""
        if names:
            raise TeacherError(
                "reference teacher: it remembers logits only; use the teacher itself"
            )

    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        """Move or cast the teacher underneath."""
        self.teacher.apply_to_tensors(function)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of the teacher underneath."""
        yield from self.teacher.named_tensors()

    def close(self) -> None:
        """Forget everything and close the teacher underneath."""
        self._rows.clear()
        self.teacher.close()
