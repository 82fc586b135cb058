"""A student that is its own teacher: one part of it learns from another."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from tutelage.errors import TeacherError
from tutelage.signals import Signals


class Itself:
    """The student's own signals as the teacher's, as constants.

    ``Distiller(student, Itself(), terms)`` runs the student once; the teacher's side of each term
    then reads the same forward pass, detached. With it stand:

    - early exits that learn from the last one (be your own teacher, 1905.08094):
      ``Term(KDLoss(temperature=3.0), at=("exit1", None))``;
    - networks that learn from each other (deep mutual learning, 1706.00384): a
      :class:`~tutelage.models.Cohort` of them, and for each pair
      ``Term(KDLoss(temperature=1.0), at=("members.0", "members.1"))``.

    It holds nothing, has no tensors and cannot be called.
    """

    @staticmethod
    def signals_of(student: Signals) -> Signals:
        """Return what the student shows, without gradient."""
        logits = None if student.logits is None else student.logits.detach()
        return Signals(logits, {name: tap.detach() for name, tap in student.taps.items()})

    def __call__(self, inputs: Any, ids: Tensor | None = None) -> Signals:
        """Raise: it has no forward of its own."""
        raise TeacherError(
            "Itself: has no forward of its own, the distiller hands it the student's signals; to "
            "ask the student, call the student"
        )

    def provide(self, names: Sequence[str]) -> None:
        """Promise the taps, which the distiller reads from the student."""

    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        """Do nothing: the tensors are the student's."""

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield nothing: the tensors are the student's."""
        return iter(())

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def __repr__(self) -> str:
        return "Itself()"
