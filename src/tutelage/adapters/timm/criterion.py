"""The loss on the labels: timm's criteria as a loss of ours."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import _check
from tutelage.adapters.timm.framework import create_classification_loss
from tutelage.errors import InputError
from tutelage.losses import Loss
from tutelage.losses.base import widen

Criterion = Callable[[Tensor, Tensor], Tensor]


class TaskLoss(Loss):
    """A criterion ``(logits, target) -> scalar`` of timm, of torch or of your own.

    It sees the logits with their classes where the student put them, in float32 at least.

    Args:
        criterion: A module or a function. What it learns is trained with the student.
        class_axis: Where the classes stand, if not last.
    """

    name = "task_loss"
    paper = "the criterion of timm's training"
    needs_teacher = False
    needs_target = True
    takes_invented_labels = False  # a criterion may want probabilities, or a row of 0 and 1

    def __init__(self, criterion: Criterion, class_axis: int | None = None) -> None:
        super().__init__()
        self.criterion = criterion
        self.class_axis = class_axis
        self.ignore_index: int = getattr(criterion, "ignore_index", -100)

    def forward(self, student: Tensor, teacher: object, target: Tensor | None = None) -> Tensor:
        """Return the criterion's value.

        Raises:
            InputError: There is no target.
        """
        target = _check.present(target, "task_loss", "a target", "call task(input, target)")
        if self.class_axis is not None:
            student = student.movedim(-1, self.class_axis)
        return self.criterion(widen(student), target)


def criterion_for(
    criterion: Criterion | None, options: Mapping[str, Any] | None, device: torch.device
) -> Criterion:
    """Return the criterion that was given, or timm's for the options, on the device.

    Raises:
        InputError: Both are given, or the installed timm cannot make one from options.
    """
    if criterion is not None and options:
        raise InputError(
            f"criterion: expected a criterion or criterion_kwargs, found both ({sorted(options)}); "
            "leave one out"
        )
    if criterion is None:
        if create_classification_loss is not None:
            criterion = create_classification_loss(**(options or {}))
        elif options:
            raise InputError(
                "criterion_kwargs: the installed timm cannot make a criterion from them; update "
                "it, or pass criterion="
            )
        else:
            criterion = nn.CrossEntropyLoss()
    assert criterion is not None
    return criterion.to(device) if isinstance(criterion, nn.Module) else criterion
