"""One loss with its weight and its place: where names of layers meet tensors."""

import inspect
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import InputError, ShapeError, TapError, TeacherError
from tutelage.losses import Loss
from tutelage.losses.scheduled import Schedule, Scheduled
from tutelage.projectors import AutoProjector
from tutelage.signals import Signals


class Term(Scheduled):
    """One loss with its weight and the place where it looks.

    Args:
        loss: A :class:`~tutelage.losses.Loss`, or any callable of ``(student, teacher)`` tensors
            that returns a scalar. If it has a third parameter named ``target``, it gets that too.
        weight: Factor of this term in the total, at least 0, or a schedule (step -> weight).
            A constant 0 only watches: the value is computed without gradient and reported.
        at: ``(student_layer, teacher_layer)``, or one name for both. ``"fc:in"`` is a layer's
            input. ``None`` compares the logits.
        via: What brings the student's tensor to the teacher's shape: a module, or ``"auto"`` for
            an :class:`~tutelage.projectors.AutoProjector`.
        name: Key of this term in :attr:`Step.parts`. Default: the loss's own name.
        class_axis: Axis of the classes in the logits. The last one by default; logits of four or
            more axes must state it (1 for dense ``[B, C, H, W]``).

    Raises:
        InputError: If the weight is, or is going to be, negative or not finite, or ``via`` is of
            no use.
        TapError: If a feature loss has no ``at``.
    """

    weight: float | Tensor

    def __init__(
        self,
        loss: Callable[..., Tensor],
        weight: float | Schedule = 1.0,
        at: str | tuple[str, str] | None = None,
        via: nn.Module | str | None = None,
        name: str | None = None,
        class_axis: int | None = None,
    ) -> None:
        super().__init__()
        self.loss = loss
        self.name = name or _name_of(loss)
        self.at = _pair(at, self.name)
        self.via = _projector(via, self.name)
        self.class_axis = class_axis
        self.needs_teacher = getattr(loss, "needs_teacher", True)
        self._is_ours = isinstance(loss, Loss)
        self._takes_target = self._is_ours or _takes_target(loss)
        self._hyper("weight", weight, _check.non_negative, f"weight of term '{self.name}'")
        # A constant weight of 0: reported, never trained on.
        self.only_watches = not callable(weight) and self.weight == 0
        self._refuse_what_cannot_work()

    @property
    def is_scheduled(self) -> bool:
        """Whether the weight or a hyper-parameter of the loss follows a schedule."""
        return super().is_scheduled or getattr(self.loss, "is_scheduled", False)

    def set_step(self, step: int) -> None:
        """Move everything scheduled to its value at optimiser step ``step``."""
        super().set_step(step)
        if getattr(self.loss, "is_scheduled", False):
            cast(Loss, self.loss).set_step(step)

    def pair(self, student: Signals, teacher: Signals | None) -> tuple[Tensor, Tensor | None]:
        """Return the two tensors that this term compares, before any projection."""
        if self.at is not None:
            return student.taps[self.at[0]], teacher.taps[self.at[1]] if teacher else None
        logits, other = student.logits, teacher.logits if teacher and self.needs_teacher else None
        if logits is None or (other is None and self.needs_teacher):
            raise self._no_logits(student, teacher)
        axis = self.class_axis
        if axis is None:
            if logits.ndim > 3:
                raise ShapeError(
                    f"term '{self.name}': expected the class axis of dense logits "
                    f"{_check.shape(logits)} to be stated; give Term(..., class_axis=1)"
                )
        elif axis != -1:
            logits = logits.movedim(axis, -1)
            other = other.movedim(axis, -1) if other is not None else None
        return logits, other

    def weigh(self, value: Tensor) -> Tensor:
        """Return the value times the weight of this step."""
        if not self._schedules:
            return value * self.weight
        # Both have no axes: without the cast a float64 weight would widen the loss.
        return value * cast(Tensor, self._value("weight")).to(value.dtype)

    def check_labels(self, student: Signals, target: Tensor) -> None:
        """Raise if this term reads class indices from ``target`` and one is out of range."""
        if not (getattr(self.loss, "needs_target", False) and self.at is None):
            return
        if target.is_floating_point():
            return
        logits = student.logits
        assert logits is not None
        if self.class_axis is not None:
            logits = logits.movedim(self.class_axis, -1)
        if target.shape == logits.shape[:-1]:
            _check.labels(target, logits.shape[-1], getattr(self.loss, "ignore_index", -100))

    def skips_without(self, target: Tensor | None) -> bool:
        """Whether a dry run cannot invent the target that a loss of the user's own asks for."""
        return target is None and self._takes_target and not isinstance(self.loss, Loss)

    def forward(self, student: Signals, teacher: Signals | None, target: Tensor | None) -> Tensor:
        """Return the unweighted value, a scalar of at least float32."""
        mine, other = self.pair(student, teacher)
        via = self.via
        loss: Any = self.loss
        try:
            if via is not None:
                mine = via(mine)
            if self._is_ours:
                # .forward: the call of a module costs more than the sum of small steps can bear.
                value = loss.forward(mine, other, target)
            elif self._takes_target:
                value = loss(mine, other, target=target)
            else:
                value = loss(mine, other)
        except ShapeError as error:
            place = f" at {self.at[0]} -> {self.at[1]}" if self.at else ""
            raise ShapeError(f"term '{self.name}'{place}: {error}") from None
        if not isinstance(value, Tensor) or value.ndim:
            found = _check.shape(value) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(
                f"term '{self.name}': expected the loss to be a scalar tensor, found {found}; "
                "return the mean as a tensor"
            )
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        place = f", at={self.at}" if self.at else ""
        return f"name={self.name!r}, weight={self._shown('weight')}{place}"

    def _no_logits(self, student: Signals, teacher: Signals | None) -> TeacherError:
        if teacher is None:
            return TeacherError(f"term '{self.name}': needs a teacher's logits and got none")
        who = "student" if student.logits is None else "teacher"
        return TeacherError(
            f"term '{self.name}': the {who} gives no logits; compare layers with at=..."
        )

    def _refuse_what_cannot_work(self) -> None:
        if getattr(self.loss, "compares", "logits") == "features" and self.at is None:
            raise TapError(
                f"term '{self.name}': {type(self.loss).__name__} compares features; say which "
                'with at=("student_layer", "teacher_layer")'
            )
        if self.via is not None and self.only_watches:
            raise InputError(
                f"term '{self.name}': a projector under a constant weight of 0 would never train; "
                "give it a weight above 0 or drop via="
            )


def _name_of(loss: object) -> str:
    name = getattr(loss, "name", None) or getattr(loss, "__name__", None)
    return str(name or type(loss).__name__)


def _pair(at: str | tuple[str, str] | None, name: str) -> tuple[str, str] | None:
    if at is None:
        return None
    pair = (at, at) if isinstance(at, str) else tuple(at)
    if len(pair) != 2 or not all(isinstance(layer, str) for layer in pair):
        raise TapError(
            f"term '{name}': expected at=(student_layer, teacher_layer), found at={at!r}"
        )
    return pair[0], pair[1]


def _projector(via: nn.Module | str | None, name: str) -> nn.Module | None:
    if isinstance(via, str):
        if via != "auto":
            raise InputError(f"term '{name}': expected via=\"auto\" or a module, found {via!r}")
        return AutoProjector()
    if via is not None and not isinstance(via, nn.Module):
        raise InputError(
            f"term '{name}': expected via to be a torch module, so that its weights are trained, "
            f"found {type(via).__name__}"
        )
    return via


def _takes_target(loss: Callable[..., Tensor]) -> bool:
    call = loss.forward if isinstance(loss, nn.Module) else loss
    try:
        # The first two are student and teacher, however they are called (mse_loss: input, target).
        return "target" in list(inspect.signature(call).parameters)[2:]
    except ValueError:  # some built-in functions have no signature
        return False
