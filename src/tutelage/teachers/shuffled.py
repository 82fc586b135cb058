"""A control: the teacher's knowledge, handed to the wrong samples."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage._check import shape
from tutelage.errors import TeacherError
from tutelage.signals import Signals, SparseLogits
from tutelage.teachers.itself import Itself
from tutelage.teachers.protocol import Teacher
from tutelage.teachers.views import tell_view


class ShuffledTeacher:
    """Gives each sample the signals of another sample of its batch.

    A method that gains as much from these as from the real ones did not learn from the teacher.
    Each call draws one cycle through the whole batch, so that no sample keeps its own signals
    (but in a batch of one), from a generator that nothing else uses: arms that differ only in
    this teacher see the same data, dropout and initial weights.

    Args:
        teacher: Whose signals to shuffle.
        seed: Where the sequence of cycles starts.
    """

    def __init__(self, teacher: Teacher, *, seed: int) -> None:
        if isinstance(teacher, Itself):
            raise TeacherError(
                "ShuffledTeacher: expected a teacher that can be asked, found Itself; give one "
                "apart from the student"
            )
        self.teacher = teacher
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, inputs: Any, ids: Tensor | None = None) -> Signals:
        """Return the teacher's signals with their samples exchanged.

        Raises:
            TeacherError: A tap has another number of samples than the logits.
        """
        signals = self.teacher(inputs, ids)
        tensors: dict[str, Tensor | SparseLogits] = {}
        if signals.logits is not None:
            tensors["logits"] = signals.logits
        tensors |= {f"tap {name}": tap for name, tap in signals.taps.items()}
        counts = {name: tensor.shape[0] for name, tensor in tensors.items()}
        if len(set(counts.values())) > 1:
            raise TeacherError(
                "ShuffledTeacher: expected the batch as the first axis of all signals, found "
                f"{', '.join(f'{name} {shape(tensor)}' for name, tensor in tensors.items())}"
            )
        order = self._cycle(next(iter(counts.values()), 0))
        return Signals(
            None if signals.logits is None else _rows(signals.logits, order),
            {name: _take(tap, order) for name, tap in signals.taps.items()},
        )

    @property
    def sparse_example(self) -> SparseLogits | None:
        """What the logits look like where the teacher keeps the likeliest classes only."""
        return getattr(self.teacher, "sparse_example", None)

    def provide(self, names: Sequence[str]) -> None:
        """Promise taps, as the teacher underneath does."""
        self.teacher.provide(names)

    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        """Move or cast the teacher underneath."""
        self.teacher.apply_to_tensors(function)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of the teacher underneath."""
        yield from self.teacher.named_tensors()

    @property
    def inner(self) -> tuple[Teacher, ...]:
        """The teacher underneath, for whoever looks for one of a kind."""
        return (self.teacher,)

    def set_view(self, view: int) -> None:
        """Hand the view of the next batch on."""
        tell_view(self.teacher, view)

    def close(self) -> None:
        """Close the teacher underneath."""
        self.teacher.close()

    def _cycle(self, n: int) -> Tensor:
        """A random permutation of ``n`` that is one cycle, so without a fixed point if n > 1."""
        path = torch.randperm(n, generator=self._generator)
        order = torch.empty_like(path)
        order[path] = path.roll(1)
        return order


def _rows(logits: Tensor | SparseLogits, order: Tensor) -> Tensor | SparseLogits:
    return _take(logits, order) if isinstance(logits, Tensor) else logits.rows(order)


def _take(tensor: Tensor, order: Tensor) -> Tensor:
    return tensor.index_select(0, order.to(tensor.device))
