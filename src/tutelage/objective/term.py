"""One loss with its weight and its place: where names of layers meet tensors."""

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import InputError, ShapeError, TeacherError
from tutelage.losses import Loss
from tutelage.losses.base import widen
from tutelage.losses.scheduled import Schedule, Scheduled
from tutelage.objective.bridge import Via, normalizer_for, projector_for
from tutelage.objective.places import At, places_of
from tutelage.objective.refuse import refuse_what_cannot_work
from tutelage.projectors import AutoProjector
from tutelage.signals import Signals, SparseLogits


class Term(Scheduled):
    """One loss with its weight and the place where it looks.

    Args:
        loss: A :class:`~tutelage.losses.Loss`, or any callable of ``(student, teacher)`` tensors
            that returns a scalar. If it has a third parameter named ``target``, it gets that too.
        weight: Factor of this term in the total, at least 0, or a schedule (step -> weight).
            A constant 0 only watches: the value is computed without gradient and reported.
        at: ``(student_layer, teacher_layer)``, or one name for both. ``"fc:in"`` is a layer's
            input, and ``None`` on a side that model's logits: ``("stage2", None)`` compares an
            early exit with the teacher. On the student's side ``"output:1"`` is the second of the
            heads that it returns (``"output:dist"`` where it returns a dict), and its one output
            where it returns only one. ``"layer3:pooled"`` is the mean over pixels or tokens. A list
            of such pairs goes as a whole to a loss of several layers. Without ``at`` the logits are
            compared.
        via: What brings the student's tensor to the teacher's shape: a module; ``"auto"`` for an
            :class:`~tutelage.projectors.AutoProjector`; ``"paper"`` for the projector of the
            loss's paper, which needs ``Distiller(..., example=inputs)``. For several layers also a
            list with one for each.
        name: Key of this term in :attr:`Step.parts`. Default: the loss's own name.
        class_axis: Axis of the classes in the logits. The last one by default; logits of four or
            more axes must state it (1 for dense ``[B, C, H, W]``).
        normalize: What puts the teacher's tensor on a scale of its own before the loss sees it: a
            name of :mod:`tutelage.normalizers`, or a module.
        borrow: Name of the teacher's layer from which the loss copies what it needs of it (see
            the loss's ``borrows``).

    Raises:
        InputError: If the weight is, or is going to be, negative or not finite, ``via`` is of no
            use, or something that the loss needs is missing.
        TapError: If a feature loss has no ``at``, or ``at`` names no layers.
    """

    weight: float | Tensor

    def __init__(
        self,
        loss: Callable[..., Tensor],
        weight: float | Schedule = 1.0,
        at: At | None = None,
        via: Via | None = None,
        name: str | None = None,
        class_axis: int | None = None,
        *,
        normalize: nn.Module | str | None = None,
        borrow: str | None = None,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.name = name or _name_of(loss)
        self.places = places_of(at, self.name)
        self._is_ours = isinstance(loss, Loss)
        self.takes_layers = getattr(loss, "takes_layers", len(self.places) > 1)
        layers = len(self.places) if self.takes_layers else None
        self.via = projector_for(via, loss, layers, self.name)
        self.normalize = normalizer_for(normalize, layers, self.name)
        self.borrow = borrow
        self.class_axis = class_axis
        self.needs_teacher = getattr(loss, "needs_teacher", True)
        self.reads_student = getattr(loss, "reads_student", True)
        self._needs_ids = getattr(loss, "needs_ids", False)
        self._takes_target = self._is_ours or _takes_target(loss)
        # A callable of the user's own compares logits unless it is sent to layers.
        compares = getattr(loss, "compares", "features" if self.places else "logits")
        self._compares_logits = compares == "logits"
        self._hyper("weight", weight, _check.non_negative, f"weight of term '{self.name}'")
        # A constant weight of 0: reported, never trained on.
        self.only_watches = not callable(weight) and self.weight == 0
        refuse_what_cannot_work(self)

    @property
    def is_scheduled(self) -> bool:
        """Whether the weight or a hyper-parameter of the loss follows a schedule."""
        return super().is_scheduled or getattr(self.loss, "is_scheduled", False)

    @property
    def is_sized(self) -> bool:
        """Whether all that is sized by the first batch has been."""
        parts = (self.via, self.normalize, self.loss)
        return all(getattr(part, "is_sized", True) for part in parts)

    @property
    def reads_logits(self) -> bool:
        """Whether the student's logits are among what it compares."""
        heads = not self.places or any(layer is None for layer, _ in self.places)
        return heads and self.reads_student

    @property
    def compares_logits(self) -> bool:
        """Whether it compares the logits of student and teacher, and nothing else."""
        return self.needs_teacher and not self.places

    @property
    def reads_teacher_logits(self) -> bool:
        """Whether the teacher's logits are among what it compares."""
        if not self.needs_teacher:
            return False
        return not self.places or any(layer is None for _, layer in self.places)

    @property
    def compares_one_tensor(self) -> bool:
        """Whether both sides are one and the same where the student is its own teacher."""
        is_same = all(mine == other for mine, other in self.places)
        return self._is_ours and self.needs_teacher and self.via is None and is_same

    def layers(self, side: int) -> tuple[str, ...]:
        """Return the layers that it reads from the student (side 0) or the teacher (side 1)."""
        if not (self.needs_teacher if side else self.reads_student):
            return ()
        return tuple(layer for place in self.places if (layer := place[side]) is not None)

    def set_step(self, step: int) -> None:
        """Move everything scheduled to its value at optimiser step ``step``."""
        super().set_step(step)
        if getattr(self.loss, "is_scheduled", False):
            cast(Loss, self.loss).set_step(step)

    def pair(self, student: Signals, teacher: Signals | None) -> tuple[Any, Any]:
        """Return what this term compares, before any projection: tensors, or lists of them."""
        other = teacher if self.needs_teacher else None
        if not self.places:
            mine, theirs = student.logits, other.logits if other else None
            if mine is None or (theirs is None and self.needs_teacher):
                raise self._no_logits(student, teacher)
            return ([mine], [theirs]) if self.takes_layers else (mine, theirs)
        one = student if self.reads_student else None
        pairs = [
            (
                self._signal(one, layer) if one else None,
                self._signal(other, partner) if other else None,
            )
            for layer, partner in self.places
        ]
        if not self.takes_layers:
            return pairs[0]
        return [one for one, _ in pairs], [one for _, one in pairs] if other else None

    def size_for(self, student: Signals, teacher: Signals | None) -> None:
        """Size projector and loss by one batch of both models; twice is harmless."""
        if self.is_sized:
            return
        mine, other = self.pair(student, teacher)
        if other is None:
            raise TeacherError(
                f"term '{self.name}': expected a teacher's tensor by which to size via=, found "
                "none to compare with; give the projector with its widths, such as "
                "via=tl.ExitHead(64, num_classes)"
            )
        try:
            if self.via is not None and not getattr(self.via, "is_sized", True):
                cast(AutoProjector, self.via).size_for(mine, other)
            if not getattr(self.loss, "is_sized", True):
                self._size_loss(mine, other)
        except (ShapeError, InputError) as error:
            raise self._placed(error) from None

    def weigh(self, value: Tensor) -> Tensor:
        """Return the value times the weight of this step."""
        if not self._schedules:
            return value * self.weight
        # Both have no axes: without the cast a float64 weight would widen the loss.
        return value * cast(Tensor, self._value("weight")).to(value.dtype)

    def check_labels(self, student: Signals, target: Tensor) -> None:
        """Raise if this term reads class indices from ``target`` and one is out of range."""
        if not getattr(self.loss, "needs_target", False) or self.places:
            return
        if target.is_floating_point():
            return
        logits = student.logits
        assert isinstance(logits, Tensor)
        if self.class_axis is not None:
            logits = logits.movedim(self.class_axis, -1)
        if target.shape == logits.shape[:-1]:
            _check.labels(target, logits.shape[-1], getattr(self.loss, "ignore_index", -100))

    def check_classes(self, student: Signals, teacher: Signals) -> None:
        """Raise if it compares logits of different classes."""
        if self.compares_logits and self._is_ours:
            mine, other = map(self._classes_last, self.pair(student, teacher))
            pairs = zip(mine, other, strict=True) if self.takes_layers else [(mine, other)]
            for one, partner in pairs:
                _check.same_classes(one, partner)

    def skips_without(self, target: Tensor | None) -> bool:
        """Whether a dry run cannot invent the target that the loss asks for."""
        can_invent = getattr(self.loss, "takes_invented_labels", False)
        return target is None and self._takes_target and not can_invent

    def labels_for(self, student: Signals) -> Tensor:
        """Return labels with which a dry run can try this term."""
        logits = student.logits
        assert isinstance(logits, Tensor)
        shape = self._classes_last(logits).shape[:-1] if self._compares_logits else logits.shape[:1]
        return torch.zeros(shape, dtype=torch.int64, device=logits.device)

    def some_ids(self, count: int) -> Tensor:
        """Return ids with which a dry run can try this term."""
        return self.loss.some_ids(count) if isinstance(self.loss, Loss) else torch.arange(count)

    def forward(
        self,
        student: Signals,
        teacher: Signals | None,
        target: Tensor | None,
        ids: Tensor | None = None,
    ) -> Tensor:
        """Return the unweighted value, a scalar of at least float32."""
        mine, other = self.pair(student, teacher)
        loss: Any = self.loss
        try:
            mine, other = self._bridged(mine, other)
            if self._needs_ids:
                value = loss.forward(mine, other, target, self._present(ids))
            elif self._is_ours:
                # .forward: the call of a module costs more than the sum of small steps can bear.
                value = loss.forward(mine, other, target)
            elif self._takes_target:
                value = loss(mine, other, target=target)
            else:
                value = loss(mine, other)
        except (ShapeError, InputError) as error:
            raise self._placed(error) from None
        if not isinstance(value, Tensor) or value.ndim:
            found = _check.shape(value) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(
                f"term '{self.name}': expected the loss to be a scalar tensor, found {found}; "
                "return the mean as a tensor"
            )
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        place = f", at={list(self.places)}" if self.places else ""
        return f"name={self.name!r}, weight={self._shown('weight')}{place}"

    def _size_loss(self, mine: Any, other: Any) -> None:
        training = self.via is not None and self.via.training
        if self.via is not None:
            self.via.eval()  # this is no step: no statistics may move
        with torch.no_grad():
            cast(Any, self.loss).size_for(*self._bridged(mine, other))
        if self.via is not None:
            self.via.train(training)

    def _placed(self, error: ShapeError | InputError) -> ShapeError | InputError:
        """Return the error with the term that it is about, which may be said already."""
        if str(error).startswith(f"term '{self.name}'"):
            return error
        place = ", ".join(f"{s or 'logits'} -> {t or 'logits'}" for s, t in self.places)
        at = f" at {place}" if place else ""
        return type(error)(f"term '{self.name}'{at}: {error}")

    def _bridged(self, mine: Any, other: Any) -> tuple[Any, Any]:
        """Return both sides as the loss takes them: projected, normalised, classes last."""
        if self.via is not None:
            mine = self.via(mine)
        if self.normalize is not None and other is not None:
            wide = [widen(one) for one in other] if isinstance(other, list) else widen(other)
            with torch.no_grad():
                other = self.normalize(wide)
        if self._compares_logits:
            mine, other = self._classes_last(mine), self._classes_last(other)
        return mine, other

    def _classes_last(self, logits: Any) -> Any:
        if isinstance(logits, list):
            return [self._classes_last(one) for one in logits]
        if not isinstance(logits, Tensor) or self.class_axis == -1:
            return logits
        if self.class_axis is not None:
            return logits.movedim(self.class_axis, -1)
        if logits.ndim > 3:
            raise ShapeError(
                f"term '{self.name}': expected the class axis of dense logits "
                f"{_check.shape(logits)} to be stated; give Term(..., class_axis=1)"
            )
        return logits

    def _signal(self, signals: Signals, layer: str | None) -> Tensor | SparseLogits:
        if layer is not None:
            return signals.taps[layer]
        if signals.logits is None:
            raise TeacherError(
                f"term '{self.name}': expected logits, found none; name a layer in at="
            )
        return signals.logits

    def _present(self, ids: Tensor | None) -> Tensor:
        advice = "call distiller(inputs, target, ids) with the samples' numbers in the data set"
        return _check.present(ids, f"term '{self.name}'", "the samples' ids [B]", advice)

    def _no_logits(self, student: Signals, teacher: Signals | None) -> TeacherError:
        if teacher is None:
            return TeacherError(f"term '{self.name}': needs a teacher's logits and got none")
        who = "student" if student.logits is None else "teacher"
        return TeacherError(
            f"term '{self.name}': the {who} gives no logits; compare layers with at=..."
        )


def _name_of(loss: object) -> str:
    name = getattr(loss, "name", None) or getattr(loss, "__name__", None)
    return str(name or type(loss).__name__)


def _takes_target(loss: Callable[..., Tensor]) -> bool:
    call = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        # The first two are student and teacher, however they are called (mse_loss: input, target).
        return "target" in list(inspect.signature(call).parameters)[2:]
    except ValueError:  # some built-in functions have no signature
        return False
