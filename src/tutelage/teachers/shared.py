"""Several students trained against one pass of their teacher."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from tutelage.errors import TeacherError
from tutelage.signals import Signals, SparseLogits
from tutelage.teachers.ema import EMATeacher
from tutelage.teachers.first import Versions, tensors_in
from tutelage.teachers.itself import Itself
from tutelage.teachers.protocol import Teacher
from tutelage.teachers.views import parts_of, view_readers


class SharedTeacher:
    """A teacher that answers a batch once, however many students ask about it.

    .. code-block:: python

        teacher = tl.SharedTeacher(tl.FrozenTeacher(big))
        distillers = [tl.Distiller(student, teacher, terms) for student in students]
        for x, y in loader:
            for distiller, optimiser in zip(distillers, optimisers):
                distiller(x, y).loss.backward()  # the teacher runs for the first one only
                ...

    The same batch is the same *objects*: the very tensors of the inputs and ids, of which none has
    been written since. A copy of a batch is another one, and is asked about anew; so is one that a
    student with an inplace first layer has overwritten. Every student's taps are computed for all.
    The last answer is kept until the next one, or until its batch is gone. Inside a compiled step
    nothing is shared.

    Args:
        teacher: Whom to ask: one whose answers depend on the images alone.

    Raises:
        TeacherError: The teacher follows one student.

    >>> asked = []
    >>> from tutelage import CallableTeacher
    >>> teacher = SharedTeacher(CallableTeacher(lambda x: asked.append(1) or x))
    >>> x = torch.zeros(2, 3)
    >>> teacher(x).logits is teacher(x).logits, len(asked)
    (True, 1)
    """

    def __init__(self, teacher: Teacher) -> None:
        for part in parts_of(teacher):
            if isinstance(part, EMATeacher | Itself):
                raise TeacherError(
                    f"SharedTeacher: expected a teacher that is the same for all students, found "
                    f"{type(part).__name__}, which follows one; give each student its own"
                )
        self.teacher = teacher
        self._last: _Answer | None = None

    @property
    def inner(self) -> tuple[Teacher, ...]:
        """The teacher underneath, for whoever looks for one of a kind."""
        return (self.teacher,)

    @property
    def sparse_example(self) -> SparseLogits | None:
        """What the logits look like where the teacher keeps the likeliest classes only."""
        return getattr(self.teacher, "sparse_example", None)

    @property
    def gives_logits(self) -> bool:
        """Whether there are logits beside the taps."""
        return getattr(self.teacher, "gives_logits", True)

    def __call__(self, inputs: Any, ids: Tensor | None = None) -> Signals:
        """Return the teacher's signals, from memory if this batch was the last one asked about."""
        if torch.compiler.is_compiling():
            return self.teacher(inputs, ids)
        batch = tensors_in(inputs) if ids is None else [*tensors_in(inputs), ids]
        setting = self._setting(batch)
        if self._last is not None and self._last.is_for(batch, setting, inputs):
            return self._last.signals
        self._last = None  # its memory may be of use to the next forward
        signals = self.teacher(inputs, ids)
        if batch:
            self._last = _Answer(batch, setting, inputs, signals, self._forget)
        return signals

    def set_view(self, view: int) -> None:
        """Hand the view of the next batch on."""
        for reader in view_readers(self.teacher):
            reader.set_view(view)

    def layer(self, name: str) -> nn.Module:
        """Return a layer of the teacher underneath, for losses that copy from it.

        Raises:
            TapError: It has no such layer.
            TeacherError: Its layers cannot be reached.
        """
        find = getattr(self.teacher, "layer", None)
        if find is None:
            raise TeacherError(
                f"SharedTeacher: expected a teacher whose layers can be reached, such as a "
                f"FrozenTeacher, found {type(self.teacher).__name__}"
            )
        found: nn.Module = find(name)
        return found

    def provide(self, names: Sequence[str]) -> None:
        """Promise taps beside those promised before, to one student more."""
        self._last = None
        self.teacher.provide(names)

    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        """Move or cast the teacher underneath."""
        self._last = None
        self.teacher.apply_to_tensors(function)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of the teacher underneath."""
        yield from self.teacher.named_tensors()

    def close(self) -> None:
        """End one student's use of the teacher underneath."""
        self._last = None
        self.teacher.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {"teacher": self.teacher, "_last": None}

    def __repr__(self) -> str:
        return f"SharedTeacher({type(self.teacher).__name__})"

    def _forget(self, gone: object) -> None:
        self._last = None

    def _setting(self, batch: Sequence[Tensor]) -> tuple[Any, ...]:
        """Return what else an answer depends on: views, and the precision of this region."""
        readers = view_readers(self.teacher)
        views = tuple((reader.view, getattr(reader, "is_rehearsing", None)) for reader in readers)
        device = batch[0].device.type if batch else "cpu"
        is_low = torch.is_autocast_enabled(device)
        return views, is_low and torch.get_autocast_dtype(device)


class _Answer:
    """Signals with the batch that they are for, which they do not keep alive."""

    def __init__(
        self,
        batch: Sequence[Tensor],
        setting: object,
        inputs: Any,
        signals: Signals,
        forget: Callable[[object], None],
    ) -> None:
        self.signals = signals
        self._setting, self._form = setting, _form(inputs)
        self._batch = [weakref.ref(tensor, forget) for tensor in batch]
        self._before = [_version(tensor) for tensor in batch]
        # A loss that writes into the teacher's tensors would change the next student's teacher.
        self._given = Versions(_tensors_of(signals))

    def is_for(self, batch: Sequence[Tensor], setting: object, inputs: Any) -> bool:
        """Whether these very tensors were asked about, and nothing was written since."""
        return (
            len(batch) == len(self._batch)
            and all(known() is tensor for known, tensor in zip(self._batch, batch, strict=True))
            and self._before == [_version(tensor) for tensor in batch]
            and None not in self._before
            and self._setting == setting
            and self._form == _form(inputs)
            and not self._given.have_moved()
        )


def _version(tensor: Tensor) -> int | None:
    """Return how often a tensor was written; inference tensors do not count."""
    return None if tensor.is_inference() else tensor._version


def _form(inputs: Any) -> object:
    """Return what tells inputs apart that hold the same tensors: names, nesting, plain values."""
    if isinstance(inputs, Tensor):
        return Tensor
    if isinstance(inputs, dict):
        return {name: _form(value) for name, value in inputs.items()}
    if isinstance(inputs, list | tuple):
        return [_form(value) for value in inputs]
    return inputs


def _tensors_of(signals: Signals) -> list[Tensor]:
    logits = signals.logits
    if isinstance(logits, SparseLogits):
        return [logits.ids, logits.log_probs, *signals.taps.values()]
    return [*([] if logits is None else [logits]), *signals.taps.values()]
