"""One step of a student under its objective."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import _check
from tutelage.distiller.lend import lend
from tutelage.distiller.refuse import (
    checked_teacher,
    refuse_deferred,
    refuse_what_cannot_work,
    refuse_what_does_not_compile,
)
from tutelage.losses.base import Loss
from tutelage.objective import Objective, Term
from tutelage.signals import Signals, Step, call, item_of, logits_of
from tutelage.taps import Taps
from tutelage.teachers import Itself, Teacher, rehearsal


class Distiller(nn.Module):
    """A student that learns from a teacher, for any training loop.

    ``forward(inputs, target)`` runs both models and returns a :class:`Step` whose ``loss`` is
    ``sum_i weight_i * term_i``. ``parameters()`` and ``state_dict()`` hold the student, the
    projectors and what losses learn; never the teacher, which still follows ``.to(device)``.
    Wrap the *distiller* in DDP, FSDP2 or ``torch.compile``, so that projectors run inside.

    Args:
        student: The model to train.
        teacher: A :class:`~tutelage.teachers.FrozenTeacher` or anything with its protocol;
            ``None`` trains the student alone.
        terms: What to train on: :class:`Term` objects, or an :class:`Objective`.
        example: One batch of inputs. With it, automatic projectors get their shapes, and every
            mismatch of shapes is found, here instead of at the first step.
        example_target: The target of that batch, for losses of your own that read one.

    Raises:
        TapError: If a layer does not exist.
        TeacherError: If a term needs a teacher and there is none, or the teacher is the student
            or shares tensors with it.
        ShapeError: If the pieces do not fit (with ``example``; otherwise at the first step).
        InputError: If there is nothing to train.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: Teacher | None,
        terms: Objective | Sequence[Term | Loss],
        *,
        example: Any = None,
        example_target: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        # In a tuple the teacher is no submodule: no optimiser, checkpoint, EMA or .train() of a
        # framework finds it.
        self._teacher_box = (checked_teacher(teacher),)
        # A teacher that moves with the student keeps in the state what it cannot go on without.
        self.teacher_memory: nn.Module | None = getattr(teacher, "memory", None)
        self._taps: Taps | None = None
        self._holder = 0  # who holds the teacher: this object, and no copy of it
        self._has_seen_a_batch = False
        try:
            self.objective = terms if isinstance(terms, Objective) else Objective(terms)
            # Logits that no term trains enter the loss times zero, so that every parameter gets a
            # gradient; whoever freezes what lies behind the last tap may turn it off.
            self.ties_logits = not self.objective.trains_logits
            # Layers whose tensors must carry a gradient; whoever freezes layers on purpose may
            # leave them out.
            self.trained_taps = self.objective.trained_taps
            self._outputs = self.objective.student_outputs
            # A teacher need not run what lies behind its last tap where nobody reads its logits.
            self._wants_taps_only = not self.objective.reads_teacher_logits
            refuse_what_cannot_work(student, teacher, self.objective)
            names = self._names_to_tap()
            if names:
                self._taps = Taps(student, names)
            self._hold_teacher(self.objective.teacher_taps)
            lend(self.objective, teacher)
            if example is None:
                refuse_deferred(self.objective)
            else:
                self._dry_run(example, example_target)
        except BaseException:
            self._hold_teacher(())  # so that closing gives back a module that only this call froze
            self.close()
            raise

    @property
    def teacher(self) -> Teacher | None:
        """The teacher; deliberately not a submodule."""
        return self._teacher_box[0]

    @property
    def separate_teacher(self) -> Teacher | None:
        """The teacher, unless the student is its own: whom one can ask apart from the student."""
        return None if self._is_self_taught else self.teacher

    @property
    def is_scheduled(self) -> bool:
        """Whether anything follows a schedule."""
        return self.objective.clock is not None

    def forward(self, inputs: Any, target: Tensor | None = None, ids: Tensor | None = None) -> Step:
        """Run both models on one batch and judge the student.

        Args:
            inputs: What both models take: a tensor, a tuple of positional or a dict of keyword
                arguments.
            target: Class indices ``[B]``, or class probabilities ``[B, C]``.
            ids: Sample ids ``[B]``, for teachers that read a cache and losses that remember
                samples.

        Raises:
            ShapeError: If student and teacher tensors do not fit.
            TapError: If a layer did not run, or ran twice.
            DataError: If a label of the first batch is out of range.
        """
        # The teacher goes first: its activations are freed before the student's are kept.
        teacher = self._ask_teacher(inputs, ids)
        return self._judge(call(self.student, inputs), teacher, target, ids)

    def judge(
        self,
        student_output: Any,
        inputs: Any,
        target: Tensor | None = None,
        ids: Tensor | None = None,
    ) -> Step:
        """Judge an output of the student that a framework has already computed.

        Args:
            student_output: What the student returned for ``inputs`` in its latest forward.
            inputs: See :meth:`forward`; only the teacher reads them.
            target: See :meth:`forward`.
            ids: See :meth:`forward`.
        """
        return self._judge(student_output, self._ask_teacher(inputs, ids), target, ids)

    def set_step(self, step: int) -> None:
        """Move all schedules to optimiser step ``step``; from then on only this moves them.

        Without it, schedules advance by one with each training forward, which is wrong under
        gradient accumulation and cannot run inside ``torch.compile``.
        """
        if self.objective.clock is not None:
            self.objective.clock.is_manual = True
            self.objective.clock.step = step
            self.objective.set_step(step)

    def student_only(self) -> nn.Module:
        """Return an independent copy of the student with no trace of distillation in it."""
        student, taps = copy.deepcopy((self.student, self._taps))
        if taps is not None:
            taps.close()
        return student

    def close(self) -> None:
        """Remove all hooks and give the teacher's module back as it was. Safe to repeat.

        A teacher that other distillers use goes on serving them.
        """
        if self._taps is not None:
            self._taps.close()
        if self.teacher is not None and self._holder == id(self):
            self._holder = 0
            self.teacher.close()

    @property
    def _is_self_taught(self) -> bool:
        return isinstance(self._teacher_box[0], Itself)

    def _names_to_tap(self) -> tuple[str, ...]:
        names = self.objective.student_taps
        if self._is_self_taught:
            names = tuple(dict.fromkeys((*names, *self.objective.teacher_taps)))
        return names

    def _hold_teacher(self, taps: Sequence[str]) -> None:
        if self.teacher is not None and self._holder != id(self):
            self.teacher.provide(taps)
            self._holder = id(self)

    def __enter__(self) -> "Distiller":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Distiller":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.teacher is not None:
            self.teacher.apply_to_tensors(fn)
        return self

    def _ask_teacher(self, inputs: Any, ids: Tensor | None) -> Signals | None:
        teacher = self._teacher_box[0]
        if teacher is None or self._is_self_taught:
            return None
        only_taps = getattr(teacher, "only_taps", None) if self._wants_taps_only else None
        signals: Signals = (only_taps or teacher)(inputs, ids)
        logits = signals.logits
        if (logits is not None and logits.requires_grad) or signals.taps:
            _check.no_gradients({"logits": logits, **signals.taps})
        return signals

    def _judge(
        self,
        output: Any,
        teacher: Signals | None,
        target: Tensor | None,
        ids: Tensor | None,
    ) -> Step:
        learns = self.training and torch.is_grad_enabled()
        student = self._signals(output, require_grad=self.trained_taps if learns else frozenset())
        if self._is_self_taught:
            teacher = Itself.signals_of(student)
        objective = self.objective
        if not self._has_seen_a_batch or objective.clock is not None:
            self._prepare(objective, student, teacher, target)
        loss, parts = objective.forward(student, teacher, target, ids)
        logits = student.logits
        assert isinstance(logits, Tensor)
        if learns and self.ties_logits:
            # Without this, parameters after the last tap get no gradient: DDP then computes wrong
            # ones silently and FSDP2 crashes. nan_to_num: 0 * inf is no reason for a NaN.
            loss = loss + (logits * 0).nan_to_num().sum()
        return Step(loss, logits, parts)

    def _signals(self, output: Any, require_grad: frozenset[str] = frozenset()) -> Signals:
        """Return what the student showed: its logits, the taps, and other items of its output."""
        taps = self._taps.read(require_grad=require_grad) if self._taps is not None else {}
        for place in self._outputs:
            taps[place] = item_of(output, place)
        return Signals(logits_of(output, "student"), taps)

    def _prepare(
        self,
        objective: Objective,
        student: Signals,
        teacher: Signals | None,
        target: Tensor | None,
    ) -> None:
        """Do what only the first batch, or the next step of a schedule, asks for."""
        clock = objective.clock
        if torch.compiler.is_compiling():
            refuse_what_does_not_compile(objective)
            return
        if not self._has_seen_a_batch:
            self._check_first_batch(student, teacher, target)
            objective.size_for(student, teacher)
            self._has_seen_a_batch = True
        if clock is not None and self.training and not clock.is_manual:
            clock.step += 1
            objective.set_step(clock.step)

    def _check_first_batch(
        self, student: Signals, teacher: Signals | None, target: Tensor | None
    ) -> None:
        logits = student.logits
        assert isinstance(logits, Tensor)
        if teacher is not None and teacher.logits is not None:
            for term in self.objective:
                term.check_classes(student, teacher)
        if target is not None and target.numel():
            self.objective.check_labels(student, target)

    def _dry_run(self, example: Any, target: Tensor | None) -> None:
        """Run one batch through everything in eval mode without gradients, changing nothing."""
        modes = {module: module.training for module in self.modules()}
        training = self.training
        self.eval()
        try:
            with torch.no_grad(), rehearsal(self.teacher):
                teacher = self._ask_teacher(example, None)
                student = self._signals(call(self.student, example))
                if self._is_self_taught:
                    teacher = Itself.signals_of(student)
                self._check_first_batch(student, teacher, target)
                self.objective.size_for(student, teacher)
                self.objective.try_out(student, teacher, target)
        finally:
            for module in self.modules():
                module.training = modes.get(module, training)  # a projector may just be born
