"""Check a teacher's logits, and keep the classes that are asked for."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage import signals
from tutelage._check import shape
from tutelage.errors import InputError, TeacherError


def logits_of(output: Any, inputs: Any) -> Tensor:
    """Return the logits in a teacher's output, checked to have one row per input.

    Args:
        output: A tensor, a mapping with ``logits``, or an object with ``logits``.
        inputs: The batch that the teacher was given.

    Raises:
        TeacherError: The output has no logits, or another batch size than the inputs.
    """
    plain = isinstance(output, Tensor) and isinstance(inputs, Tensor)
    if plain and output.shape[:1] == inputs.shape[:1]:  # the common case, at once
        return cast(Tensor, output)
    try:
        logits = signals.logits_of(output, "teacher")
    except InputError as error:
        raise TeacherError(str(error)) from None
    batch = _first_tensor(inputs)
    if batch is not None and batch.ndim and logits.shape[:1] != batch.shape[:1]:
        raise TeacherError(
            f"teacher: expected {batch.shape[0]} rows of logits for inputs {shape(batch)}, "
            f"found logits {shape(logits)}; the teacher must keep the batch as its first axis"
        )
    return logits


class ClassMap(nn.Module):
    """Picks the teacher's classes that the student learns, in the student's order.

    Args:
        classes: For each class of the student, the index of the same class of the teacher.
        axis: The class axis of the teacher's logits.

    Raises:
        TeacherError: The indices are not distinct non-negative integers.

    >>> ClassMap([2, 0])(torch.tensor([[1.0, 2.0, 3.0]])).tolist()
    [[3.0, 1.0]]
    """

    indices: Tensor

    def __init__(self, classes: Sequence[int], *, axis: int = -1) -> None:
        super().__init__()
        found, classes = list(classes), _indices(classes)
        if not classes or min(classes) < 0:
            raise TeacherError(
                f"class_map: expected the teacher's class indices, integers from 0, found {found}"
            )
        twice = sorted({i for i in classes if classes.count(i) > 1})
        if twice:
            raise TeacherError(
                f"class_map: expected distinct class indices, found {twice} more than once; "
                "give each class of the student a class of its own"
            )
        self.axis = axis
        self.highest = max(classes)
        self.register_buffer("indices", torch.tensor(classes), persistent=False)

    def forward(self, logits: Tensor) -> Tensor:
        """Return the chosen classes of ``logits`` along the class axis.

        Raises:
            TeacherError: The map names a class that the teacher does not have.
        """
        count = logits.shape[self.axis]
        if self.highest >= count:
            raise TeacherError(
                f"class_map: expected indices below the teacher's {count} classes, found "
                f"{self.highest} (logits {shape(logits)}); correct the map"
            )
        return logits.index_select(self.axis, self.indices)


def _indices(classes: Sequence[int]) -> list[int]:
    """Return plain integers, whatever array they stand in; none where some are no integers."""
    if any(isinstance(i, bool) for i in classes):
        return []
    try:
        return [operator.index(i) for i in classes]
    except TypeError:
        return []


def _first_tensor(inputs: Any) -> Tensor | None:
    if isinstance(inputs, Tensor):
        return inputs
    if isinstance(inputs, Mapping):
        inputs = list(inputs.values())
    if isinstance(inputs, list | tuple):
        return next((item for item in inputs if isinstance(item, Tensor)), None)
    return None
