"""Knowledge distillation as a callback of fastai's ``Learner``."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fastai.callback.core import Callback
from fastai.learner import Learner
from torch import Tensor, nn

from tutelage import _check
from tutelage.adapters.fastai.batches import images_of
from tutelage.adapters.fastai.fitting import running_fit
from tutelage.adapters.fastai.layers import get_module_by_name
from tutelage.adapters.fastai.module import Judged
from tutelage.adapters.fastai.schedule import Moment
from tutelage.adapters.fastai.session import Session
from tutelage.adapters.fastai.targets import target_of
from tutelage.adapters.fastai.terms import Names, terms_of
from tutelage.errors import InputError, TeacherError
from tutelage.objective import Objective
from tutelage.teachers import FrozenTeacher, InputSpec, Teacher

MIXING = ("lerp", "independent")

Number = float | Callable[[int], float]


class KnowledgeDistillationCallback(Callback):  # type: ignore[misc]  # fastai has no types
    """Let a learner's model learn from a teacher too.

    The training loss is ``(1 - w) * task + w * kd``: ``task`` is the learner's own loss and ``kd``
    the sum of the terms. The validation loss stays ``task``; each term on the validation set is a
    column of its own, ``kd_loss``. Outside a fit the learner is untouched: ``get_preds``,
    ``validate`` and ``export`` know no teacher. Within one, ``learn.model`` stands for the student
    and ``learn.save`` writes it alone. What the terms learn (projectors) is in the optimiser's last
    group for the length of the fit, is frozen by no ``freeze``, and is kept from fit to fit in
    ``callback.objective``.

    Args:
        teacher: A module, a ``Learner`` whose model it is, or a teacher of this package. It is
            frozen, moved to the learner's device and never part of the learner's model.
        loss: A loss of this package, a :class:`~tutelage.Term` or a list of terms, or a function:
            of ``(student, teacher)`` tensors with an optional ``target``, or of fasterai's
            keywords ``pred, teacher_pred, fm_s, fm_t, target``. The names of
            :mod:`tutelage.adapters.fastai.losses` may be left uncalled.
        activations_student: Layers of the student, for losses of features.
        activations_teacher: The layer of the teacher for each, in the same order.
        weight: ``w``, from 0 to 1 (at least 0 where ``mixing="independent"``), or a schedule.
        schedule: What ``w`` is multiplied by, over the fraction of the fit that is behind
            (``cos``, ``agp``, ...) or over its steps (:mod:`tutelage.schedules`, where a step is a
            batch).
        mixing: ``"lerp"`` as above, or ``"independent"``: ``task + w * kd``.
        projector: What brings the student's features to the teacher's shape: ``"auto"``, or
            anything that ``Term`` takes as ``via``; a list with one for each pair of layers.
        teacher_inputs: The images that the teacher expects, if it is given as a module. They are
            then made from those of the learner, whose ``Normalize`` is read.
        given: The images that the learner's loaders give, where they do not say it themselves.
        class_axis: See :class:`~tutelage.Term`; 1 for dense logits ``[B, C, H, W]``.
        metrics: Whether to show the terms on the validation set, which costs the teacher's forward
            there.

    Raises:
        InputError: Arguments contradict each other or are out of range.
        TapError: A layer does not exist (at the first fit for those of the student), a loss of
            features has none, or one of logits has some.
        TeacherError: The teacher is none, or is not apart from the student.
        ShapeError: Student and teacher do not fit together; found on one batch before training.

    The lines to paste are in :mod:`tutelage.adapters.fastai`.
    """

    # After the model went to its device and before the gradient is scaled, accumulated or the
    # model put into DDP.
    order = -5

    def __init__(
        self,
        teacher: nn.Module | Learner | Teacher,
        loss: Any,
        activations_student: Names = None,
        activations_teacher: Names = None,
        weight: Number = 0.5,
        schedule: Any = None,
        *,
        mixing: str = "lerp",
        projector: nn.Module | str | Sequence[nn.Module | str] | None = None,
        teacher_inputs: InputSpec | None = None,
        given: InputSpec | None = None,
        class_axis: int | None = None,
        metrics: bool = True,
    ) -> None:
        super().__init__()
        self.mixing = _check.one_of(mixing, MIXING, "KnowledgeDistillationCallback.mixing")
        self.weight, self.schedule = weight, schedule
        self._check_weights()
        self.teacher = _checked_teacher(teacher, teacher_inputs, given)
        terms = terms_of(
            loss, activations_student, activations_teacher, projector, class_axis=class_axis
        )
        self.objective = Objective(terms)
        self._refuse_unknown_layers()
        self.teacher_inputs, self.given, self.shows_terms = teacher_inputs, given, metrics
        self.current_weight = self._weight_at(Moment(0, 0.0))
        self._session: Session | None = None
        self._kd_loss: Tensor | None = None
        self._parts: Mapping[str, Tensor] = {}

    def before_fit(self) -> None:
        """Borrow model, optimiser and table from the learner, if this is the beginning of a fit."""
        fit = running_fit(self.learn)
        if fit is None or self._session is not None:
            return
        parts = (lambda: self._parts) if self.shows_terms else None
        self._session = Session(self.learn, self._make_teacher, self.objective, parts)
        fit.endings.append(self._close)

    def before_train(self) -> None:
        """See what is frozen in this epoch."""
        if self._session is not None:
            self._session.follow_freezing()

    def before_batch(self) -> None:
        """Move the schedules, and announce the batch to the model if it is to be judged."""
        self._kd_loss, self._parts = None, {}
        session, learn = self._session, self.learn
        if session is None:
            if learn.training and running_fit(learn) is not None:
                raise InputError(
                    "KnowledgeDistillationCallback: it was added to a fit that had begun; add it "
                    "to the learner before"
                )
            return
        if learn.training:
            moment = Moment(learn.epoch * learn.n_iter + learn.iter, learn.pct_train)
            self.current_weight = self._weight_at(moment)
            if session.distiller.is_scheduled:
                session.distiller.set_step(moment)
            # At weight 0 the teacher would run for nothing, unless something has to get a gradient.
            judges = self.current_weight > 0 or session.learns
        else:
            judges = self.shows_terms and len(learn.yb) > 0 and not hasattr(learn, "gather_preds")
        session.model.announced = partial(target_of, learn) if judges else None

    def after_pred(self) -> None:
        """Leave to the learner what the student returned, and keep the rest."""
        if isinstance(self.learn.pred, Judged):
            self.learn.pred, self._kd_loss, self._parts = self.learn.pred

    def after_loss(self) -> None:
        """Mix the loss that is trained on; that of validation stays as it is."""
        kd, self._kd_loss = self._kd_loss, None
        if kd is None or not self.learn.training:
            return
        task, w = self.learn.loss_grad, self.current_weight
        self.learn.loss_grad = (1 - w if self.mixing == "lerp" else 1) * task + w * kd
        self.learn.loss = self.learn.loss_grad.clone()

    def _close(self) -> None:
        session, self._session = self._session, None
        self._kd_loss, self._parts = None, {}
        if session is not None:
            session.close()

    def _make_teacher(self, example: Any) -> Teacher:
        """Return the teacher, at the first fit made from the module by what the loaders say."""
        if isinstance(self.teacher, nn.Module) and not isinstance(self.teacher, Teacher):
            given = self.given
            if given is None and self.teacher_inputs is not None and isinstance(example, Tensor):
                given = images_of(self.learn, example.shape[1])
            self.teacher = FrozenTeacher(self.teacher, inputs=self.teacher_inputs, given=given)
        teacher: Teacher = self.teacher
        return teacher

    def _weight_at(self, moment: Moment) -> float:
        value = self.weight(moment) if callable(self.weight) else self.weight
        if self.schedule is not None:
            # One of fasterai's own has progress() alone.
            own = callable(self.schedule)
            value *= self.schedule(moment) if own else self.schedule.progress(moment.progress)
        return self._checked(value, "weight" if self.schedule is None else "weight * schedule")

    def _check_weights(self) -> None:
        if self.schedule is not None and not (
            callable(self.schedule) or hasattr(self.schedule, "progress")
        ):
            raise InputError(
                f"KnowledgeDistillationCallback.schedule: expected a schedule such as cos, found "
                f"{self.schedule!r}"
            )
        extremes = getattr(self.weight, "bounds", ()) if callable(self.weight) else [self.weight]
        for extreme in extremes:
            self._checked(extreme, "weight")

    def _checked(self, value: float, name: str) -> float:
        check = _check.fraction if self.mixing == "lerp" else _check.non_negative
        return check(value, f"KnowledgeDistillationCallback.{name}")

    def _refuse_unknown_layers(self) -> None:
        """Find a layer of the teacher that does not exist before any fit."""
        teacher = self.teacher
        # A module of the user's own may well have a part called "model".
        model = teacher.model if isinstance(teacher, FrozenTeacher) else teacher
        if isinstance(model, nn.Module) and not isinstance(model, Teacher):
            for name in self.objective.teacher_taps:
                get_module_by_name(model, name.partition(":")[0])

    def __reduce__(self) -> Any:
        # learn.export() pickles all callbacks: neither the teacher nor this package shall be needed
        # to load a student.
        return Callback, ()

    def __deepcopy__(self, memo: dict[int, Any]) -> "KnowledgeDistillationCallback":
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update({k: copy.deepcopy(v, memo) for k, v in self.__dict__.items()})
        return new


def _checked_teacher(
    teacher: Any, teacher_inputs: InputSpec | None, given: InputSpec | None
) -> Any:
    if isinstance(teacher, Learner):
        teacher = teacher.model
    if isinstance(teacher, Teacher):
        if teacher_inputs is not None or given is not None:
            raise InputError(
                "KnowledgeDistillationCallback: teacher_inputs and given are for a teacher given "
                "as a module; give them to FrozenTeacher(model, inputs=..., given=...)"
            )
        return teacher
    if not isinstance(teacher, nn.Module):
        raise TeacherError(
            f"KnowledgeDistillationCallback: expected a module or a teacher, found {teacher!r}"
        )
    return teacher
