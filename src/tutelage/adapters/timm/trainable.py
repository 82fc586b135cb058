"""All that trains in a task, as one module: what optimisers, DDP and averages take."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from tutelage.adapters.timm.framework import group_parameters
from tutelage.distiller import Distiller
from tutelage.signals import Step

STUDENT = "distiller.student."


class Trainable(nn.Module):
    """Student, projectors and what losses learn; the teacher is no part of it.

    Args:
        distiller: The distiller of the task.
    """

    def __init__(self, distiller: Distiller) -> None:
        super().__init__()
        self.distiller = distiller

    @property
    def student(self) -> nn.Module:
        """The bare student."""
        return self.distiller.student

    @property
    def objective(self) -> nn.Module:
        """Projectors, what losses learn, and the step of schedules."""
        return self.distiller.objective

    @property
    def memory(self) -> nn.Module | None:
        """What a teacher that moves with the student cannot go on without."""
        return self.distiller.teacher_memory

    def forward(self, inputs: Tensor, target: Tensor, ids: Tensor | None = None) -> Step:
        """Return the distiller's step."""
        step: Step = self.distiller(inputs, target, ids)
        return step

    def no_weight_decay(self) -> set[str]:
        """Return the student's parameters that its author keeps from weight decay."""
        names: Any = getattr(self.student, "no_weight_decay", set)
        return {STUDENT + name for name in names()}

    @property
    def group_matcher(self) -> Callable[..., Callable[[str], int]]:
        """How timm's layer-wise learning rates number the parameters: projectors with the head.

        Raises:
            AttributeError: The student has none; timm then numbers parameters by their order, in
                which projectors are last.
        """
        if not hasattr(self.student, "group_matcher"):
            raise AttributeError("group_matcher")
        return self._matcher

    def _matcher(self, coarse: bool = False) -> Callable[[str], int]:
        student: Any = self.student
        layers = group_parameters(student, student.group_matcher(coarse=coarse), reverse=True)
        return partial(_layer_of, layers, max(layers.values(), default=0))


class Averaged(nn.Module):
    """A copy of what trains, without a teacher that moving or casting the copy would take along.

    Its tensors stand in the order of the original's, by which timm pairs them.

    Args:
        trainable: The original.
    """

    def __init__(self, trainable: Trainable) -> None:
        super().__init__()
        self.student = trainable.distiller.student_only()
        self.memory = copy.deepcopy(trainable.memory)
        self.objective = copy.deepcopy(trainable.objective)


def _layer_of(layers: dict[str, int], last: int, name: str) -> int:
    return layers.get(name.removeprefix(STUDENT), last) if name.startswith(STUDENT) else last
