"""Guards on shapes and ranges: the one place that words such errors."""

import math
from collections.abc import Iterable, Mapping
from numbers import Real

from torch import Tensor
from torch.nn.parameter import is_lazy

from tutelage.errors import DataError, InputError, ShapeError, TeacherError
from tutelage.signals import SparseLogits


def shape(tensor: Tensor | SparseLogits) -> str:
    """Return a tensor's shape as messages print it: ``[8, 10]``."""
    return str(list(tensor.shape))


def same_shape(student: Tensor, teacher: Tensor, *, where: str, hint: str = "") -> None:
    """Raise unless both tensors have one shape: nothing broadcasts silently.

    Args:
        student: The student's tensor, already projected.
        teacher: The teacher's tensor.
        where: Who asks, at the start of the message (``"KDLoss"``).
        hint: What to do next, at its end.
    """
    if student.shape != teacher.shape:
        advice = f"; {hint}" if hint else ""
        raise ShapeError(
            f"{where}: expected student and teacher of one shape, "
            f"found student {shape(student)} vs teacher {shape(teacher)}{advice}"
        )


def logits(tensor: Tensor, where: str) -> None:
    """Raise unless the last axis can hold classes: a softmax over one class is constant."""
    if tensor.ndim < 2 or tensor.shape[-1] < 2:
        raise ShapeError(
            f"{where}: expected logits [B, C] or [B, N, V] of at least two classes, "
            f"found {shape(tensor)}; give a binary model two outputs, and a dense one class_axis=1"
        )


def missing(where: str, what: str, advice: str) -> InputError:
    """Return the error for a tensor that was not given."""
    return InputError(f"{where}: expected {what}, found None; {advice}")


def present(tensor: Tensor | None, where: str, what: str, advice: str) -> Tensor:
    """Return the tensor, or raise where none was given."""
    if tensor is None:
        raise missing(where, what, advice)
    return tensor


def labels(target: Tensor, num_classes: int, ignore_index: int = -100) -> None:
    """Raise if a class index is outside ``[0, num_classes)``; this waits for the device."""
    bad = target[(target != ignore_index) & ((target < 0) | (target >= num_classes))]
    if bad.numel():
        raise DataError(
            f"labels: expected class indices from 0 to {num_classes - 1}, found {int(bad[0])}; "
            f"check the data set's classes against the student's head ({ignore_index} is ignored)"
        )


def same_classes(student: Tensor, teacher: Tensor | SparseLogits | None) -> None:
    """Raise unless both have as many classes on their last axis."""
    if teacher is not None and student.shape[-1] != teacher.shape[-1]:
        raise ShapeError(
            f"Distiller: expected student and teacher of equal class counts, found student "
            f"{shape(student)} with {student.shape[-1]} vs teacher {shape(teacher)} "
            f"with {teacher.shape[-1]}; pass FrozenTeacher(..., class_map=[...]) that names the "
            "teacher's class for each class of the student"
        )


def no_gradients(signals: Mapping[str, Tensor | SparseLogits | None]) -> None:
    """Raise if a step would train the teacher, or keep its activations for nothing."""
    live = [name for name, tensor in signals.items() if tensor is not None and tensor.requires_grad]
    if live:
        raise TeacherError(
            f"teacher: expected signals without gradient, found one in {', '.join(live)}; compute "
            "them under torch.no_grad()"
        )


def apart(student: Iterable[tuple[str, Tensor]], teacher: Iterable[tuple[str, Tensor]]) -> None:
    """Raise if a step on the student would move the teacher: no tensors may share storage."""
    mine = {t.untyped_storage().data_ptr(): name for name, t in student if not is_lazy(t)}
    mine.pop(0, None)  # empty tensors and those on the meta device have no storage to share
    shared = [
        f"{mine[pointer]} (teacher's {name})"
        for name, tensor in teacher
        if not is_lazy(tensor) and (pointer := tensor.untyped_storage().data_ptr()) in mine
    ]
    if shared:
        more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
        raise TeacherError(
            f"teacher: expected tensors of its own, found them shared with the student: "
            f"{', '.join(shared[:5])}{more}; pass a copy (copy.deepcopy) as the teacher"
        )


def finite(value: float, name: str) -> float:
    """Return ``value`` if it is a finite number."""
    if not _is_number(value) or not math.isfinite(value):
        raise InputError(f"{name}: expected a finite number, found {value!r}")
    return float(value)


def positive(value: float, name: str) -> float:
    """Return ``value`` if it is a finite number above zero."""
    if not _is_number(value) or not math.isfinite(value) or value <= 0:
        raise InputError(f"{name}: expected a finite number above 0, found {value!r}")
    return float(value)


def non_negative(value: float, name: str) -> float:
    """Return ``value`` if it is a finite number of at least zero."""
    if not _is_number(value) or not math.isfinite(value) or value < 0:
        raise InputError(f"{name}: expected a finite number of at least 0, found {value!r}")
    return float(value)


def at_least_one(value: float, name: str) -> float:
    """Return ``value`` if it is a finite number of at least 1."""
    if not _is_number(value) or not math.isfinite(value) or value < 1:
        raise InputError(f"{name}: expected a finite number of at least 1, found {value!r}")
    return float(value)


def count(value: float, name: str) -> int:
    """Return ``value`` if it is a whole number of at least 1."""
    if at_least_one(value, name) % 1:
        raise InputError(f"{name}: expected a whole number, found {value!r}")
    return int(value)


def fraction(value: float, name: str) -> float:
    """Return ``value`` if it lies in ``[0, 1]``."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise InputError(f"{name}: expected a number from 0 to 1, found {value!r}")
    return float(value)


def one_of(value: str, known: tuple[str, ...], name: str) -> str:
    """Return ``value`` if it is one of the ``known`` words."""
    if value not in known:
        raise InputError(f"{name}: expected one of {', '.join(known)}, found {value!r}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)  # numpy's numbers too
