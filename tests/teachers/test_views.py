from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

import tutelage as tl
from tutelage.signals import Signals
from tutelage.teachers import tell_view, view_readers


class Reader:
    """A teacher that must know the view, as one with a cache."""

    def __init__(self) -> None:
        self.views: list[int | list[int]] = []

    def set_view(self, view: int) -> None:
        self.views.append(view)

    def prepare(self, ids: Tensor) -> None:
        self.views.append(ids.tolist())

    def __call__(self, inputs: Tensor, ids: Tensor | None = None) -> Signals:
        return Signals(torch.zeros(len(inputs), 3))

    def provide(self, names: Sequence[str]) -> None: ...
    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None: ...
    def close(self) -> None: ...

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        yield from ()


def test_a_reader_is_told_the_view_through_every_wrapper() -> None:
    reader, frozen = Reader(), tl.FrozenTeacher(nn.Linear(4, 3))
    wrapped = tl.ShuffledTeacher(tl.EnsembleTeacher([frozen, reader]), seed=0)
    assert view_readers(wrapped) == [reader]
    tell_view(wrapped, 2)
    wrapped.set_view(3)
    tell_view(wrapped, 4, torch.tensor([7, 9]))
    assert reader.views == [2, 3, 4, [7, 9]]


def test_a_live_teacher_and_no_teacher_are_told_nothing() -> None:
    live = tl.EnsembleTeacher([tl.FrozenTeacher(nn.Linear(4, 3))])
    assert view_readers(live) == view_readers(None) == []
    tell_view(live, 1)
    tell_view(None, 1)
