"""The weighted sum of terms."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tutelage.errors import InputError, TeacherError
from tutelage.losses import Loss
from tutelage.objective.term import Term
from tutelage.projectors import AutoProjector
from tutelage.signals import Signals


class Objective(nn.Module):
    """The weighted sum of terms: ``sum_i weight_i * term_i``.

    Args:
        terms: The terms; a bare loss stands for ``Term(loss)``.

    Raises:
        InputError: If there are none, all weights are 0, or two terms have one name.
    """

    def __init__(self, terms: Sequence[Term | Loss]) -> None:
        super().__init__()
        if not terms:
            raise InputError("Objective: expected at least one Term, found none")
        self.terms = nn.ModuleList(t if isinstance(t, Term) else Term(t) for t in terms)
        self.clock = Clock() if any(t.is_scheduled for t in self._terms()) else None
        _refuse_equal_names(self._terms())
        if all(t.only_watches for t in self._terms()):
            raise InputError("Objective: expected a weight above 0 in some Term, found only zeros")

    @property
    def student_taps(self) -> tuple[str, ...]:
        """Layers that the terms read from the student, each once."""
        return tuple(dict.fromkeys(t.at[0] for t in self._terms() if t.at))

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """Layers that the terms read from the teacher, each once."""
        pairs = (t for t in self._terms() if t.at and t.needs_teacher)
        return tuple(dict.fromkeys(t.at[1] for t in pairs if t.at))

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares with a teacher."""
        return any(t.needs_teacher for t in self._terms())

    @property
    def compares_logits(self) -> bool:
        """Whether any term compares the student's logits with the teacher's."""
        return any(t.needs_teacher and t.at is None for t in self._terms())

    @property
    def trains_logits(self) -> bool:
        """Whether the gradient of any term reaches the student's logits."""
        return any(t.at is None and not t.only_watches for t in self._terms())

    @property
    def is_sized(self) -> bool:
        """Whether every automatic projector knows its shapes."""
        return all(t.via.is_sized for t in self._terms() if isinstance(t.via, AutoProjector))

    def size_for(self, student: Signals, teacher: Signals | None) -> None:
        """Give every automatic projector its shapes, from one batch of both models."""
        for term in self._terms():
            if isinstance(term.via, AutoProjector) and not term.via.is_sized:
                mine, other = term.pair(student, teacher)
                if other is None:
                    raise TeacherError(f"term '{term.name}': via=\"auto\" needs a teacher")
                term.via.size_for(mine, other)

    def set_step(self, step: int) -> None:
        """Move everything scheduled to its value at optimiser step ``step``."""
        for term in self._terms():
            if term.is_scheduled:
                term.set_step(step)

    def forward(
        self, student: Signals, teacher: Signals | None, target: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total with its graph, and each term's unweighted value without one."""
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        for term in self._terms():
            # .forward: the call of a module costs more than the sum of small steps can bear.
            if term.only_watches:
                with torch.no_grad():
                    parts[term.name] = term.forward(student, teacher, target)
                continue
            value = term.forward(student, teacher, target)
            parts[term.name] = value.detach()
            total = value * term.weight if total is None else total + value * term.weight
        assert total is not None
        return total, parts

    def _terms(self) -> list[Term]:
        return cast("list[Term]", list(self.terms))


class Clock(nn.Module):
    """The step at which schedules stand: saved with the state, so that resuming goes on there."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self.is_manual = False

    def get_extra_state(self) -> Tensor:
        """Return the step as a tensor, which every checkpoint format can hold."""
        return torch.tensor(self.step)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the saved step."""
        self.step = int(state)


def _refuse_equal_names(terms: Sequence[Term]) -> None:
    """Tell equal default names apart by their layer; refuse what stays equal."""
    names = [term.name for term in terms]
    for term in terms:
        if names.count(term.name) > 1 and term.at:
            term.name = f"{term.name}[{term.at[0]}]"
    names = [term.name for term in terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"Objective: expected one name per Term, found {twice[0]!r} {names.count(twice[0])} "
            "times; give each a name=..."
        )
