"""The weighted sum of terms."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.losses import Loss
from tutelage.objective.term import Term
from tutelage.projectors import Deferred
from tutelage.signals import OUTPUT, Signals


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
        self.clock = Clock() if any(t.is_scheduled for t in self) else None
        self.register_load_state_dict_post_hook(_catch_up)  # type: ignore[no-untyped-call]
        _refuse_equal_names(list(self))
        if all(t.only_watches for t in self):
            raise InputError("Objective: expected a weight above 0 in some Term, found only zeros")

    @property
    def student_taps(self) -> tuple[str, ...]:
        """Layers that the terms read from the student, each once."""
        return tuple(name for name in self._student_places if not name.startswith(OUTPUT))

    @property
    def student_outputs(self) -> tuple[str, ...]:
        """Items of what the student returns that the terms read, each once: ``output:1``."""
        return tuple(name for name in self._student_places if name.startswith(OUTPUT))

    @property
    def trained_taps(self) -> frozenset[str]:
        """Layers of the student that some term trains on, and does not only watch."""
        trained = (layer for t in self if not t.only_watches for layer in t.layers(0))
        return frozenset(name for name in trained if not name.startswith(OUTPUT))

    @property
    def teacher_taps(self) -> tuple[str, ...]:
        """Layers that the terms read from the teacher, each once."""
        return tuple(dict.fromkeys(layer for t in self for layer in t.layers(1)))

    @property
    def _student_places(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(layer for t in self for layer in t.layers(0)))

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares with a teacher."""
        return any(t.needs_teacher for t in self)

    @property
    def compares_logits(self) -> bool:
        """Whether any term compares the student's logits with the teacher's."""
        return any(t.compares_logits for t in self)

    @property
    def reads_teacher_logits(self) -> bool:
        """Whether any term reads the teacher's logits."""
        return any(t.reads_teacher_logits for t in self)

    @property
    def trains_logits(self) -> bool:
        """Whether the gradient of any term reaches the student's logits."""
        return any(t.reads_logits and not t.only_watches for t in self)

    @property
    def is_sized(self) -> bool:
        """Whether everything that is sized by the first batch knows its shapes."""
        return all(term.is_sized for term in self)

    @property
    def deferred(self) -> tuple[str, ...]:
        """Names of the terms with a part that has no parameters before it is sized."""
        return tuple(term.name for term in self if any(map(_is_waiting, term.modules())))

    def size_for(self, student: Signals, teacher: Signals | None) -> None:
        """Give everything its shapes that takes them from one batch of both models."""
        for term in self:
            term.size_for(student, teacher)

    def set_step(self, step: int) -> None:
        """Move everything scheduled to its value at optimiser step ``step``."""
        for term in self:
            if term.is_scheduled:
                term.set_step(step)

    def forward(
        self,
        student: Signals,
        teacher: Signals | None,
        target: Tensor | None = None,
        ids: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total with its graph, and each term's unweighted value without one."""
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        for term in cast("list[Term]", self.terms):
            if term.only_watches:
                with torch.no_grad():
                    parts[term.name] = term.forward(student, teacher, target, ids)
                continue
            value = term.forward(student, teacher, target, ids)
            parts[term.name] = value.detach()
            total = term.weigh(value) if total is None else total + term.weigh(value)
        assert total is not None
        return total, parts

    def try_out(self, student: Signals, teacher: Signals | None, target: Tensor | None) -> None:
        """Compute each term once for the errors it may raise; labels are invented if not given."""
        for term in self:
            if term.skips_without(target):
                continue
            given = term.labels_for(student) if target is None else target
            term.forward(student, teacher, given, term.some_ids(len(given)).to(given.device))

    def check_labels(self, student: Signals, target: Tensor) -> None:
        """Raise if a term reads class indices from ``target`` and one is out of range."""
        for term in self:
            term.check_labels(student, target)

    def __iter__(self) -> Iterator[Term]:
        return cast("Iterator[Term]", iter(self.terms))


class Clock(nn.Module):
    """The step at which schedules stand: saved with the state, so that resuming goes on there."""

    def __init__(self) -> None:
        super().__init__()
        self.step = -1  # no training step yet; schedules show their value at step 0
        self.is_manual = False

    def get_extra_state(self) -> Tensor:
        """Return the step as a tensor, which every checkpoint format can hold."""
        return torch.tensor(self.step)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up the saved step."""
        self.step = int(state)


def _is_waiting(module: nn.Module) -> bool:
    if isinstance(module, Deferred):
        return not module.is_sized
    return bool(getattr(module, "is_deferred", False))


def _catch_up(objective: nn.Module, incompatible_keys: object) -> None:
    """Move everything scheduled to where the loaded clock stands: a hook on loading."""
    assert isinstance(objective, Objective)
    if objective.clock is not None:
        objective.set_step(max(objective.clock.step, 0))


def _refuse_equal_names(terms: Sequence[Term]) -> None:
    """Tell equal default names apart by their layer; refuse what stays equal."""
    names = [term.name for term in terms]
    for term in terms:
        if names.count(term.name) > 1 and term.layers(0):
            term.name = f"{term.name}[{term.layers(0)[0]}]"
    names = [term.name for term in terms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(
            f"Objective: expected one name per Term, found {twice[0]!r} {names.count(twice[0])} "
            "times; give each a name=..."
        )
