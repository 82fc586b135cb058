"""What a distillation borrows from a learner for one fit, and gives back at its end."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from fastai.callback.core import Callback
from fastai.distributed import ParallelTrainer
from fastai.learner import Learner
from torch import Tensor

from tutelage.adapters.fastai.batches import example_of
from tutelage.adapters.fastai.metric import TermMetric
from tutelage.adapters.fastai.module import Distilled
from tutelage.adapters.fastai.optimiser import join, leave
from tutelage.distiller import Distiller
from tutelage.errors import InputError
from tutelage.objective import Objective
from tutelage.teachers import Teacher


class Session:
    """The learner's model inside a :class:`Distilled`, its optimiser and table with what is new.

    Args:
        learn: A learner at the beginning of a fit, its model on its device.
        teacher_for: Makes the teacher from one batch of inputs.
        objective: The terms, which keep what they have learnt from fit to fit.
        parts: Returns the values of the latest batch, for the table; ``None`` leaves it as it is.

    Raises:
        InputError: The learner is distilled already, or is of a kind that cannot be.
        TutelageError: As :class:`~tutelage.distiller.Distiller` raises it.
    """

    def __init__(
        self,
        learn: Learner,
        teacher_for: Callable[[Any], Teacher],
        objective: Objective,
        parts: Callable[[], Mapping[str, Tensor]] | None,
    ) -> None:
        _refuse_what_cannot_work(learn)
        self.learn, self.objective = learn, objective
        self.student = learn.model
        example = example_of(learn)
        device = next(self.student.parameters()).device
        teacher = teacher_for(example)
        teacher.apply_to_tensors(lambda tensor: tensor.to(device))
        objective.to(device)
        self.distiller = Distiller(self.student, teacher, objective, example=example)
        self.learns = any(True for _ in objective.parameters())
        self.model = Distilled(self.distiller)
        self.metrics = [TermMetric(t.name, parts) for t in objective] if parts else []
        # The search for a learning rate ends where training breaks; fastai puts the model back.
        is_trial = hasattr(learn, "lr_finder")
        self._before = copy.deepcopy(objective.state_dict()) if is_trial else None
        learn.model = self.model
        learn.metrics = learn.metrics + self.metrics
        join(learn, objective)

    def follow_freezing(self) -> None:
        """Let layers that ``learn.freeze`` froze be compared: a projector there still trains."""
        is_whole = all(parameter.requires_grad for parameter in self.student.parameters())
        self.distiller.trained_taps = self.objective.trained_taps if is_whole else frozenset()

    def close(self) -> None:
        """Give everything back: model, optimiser, table, hooks and the teacher's modes."""
        learn = self.learn
        learn.model = self.student
        learn.metrics = [one for one in learn.metrics if one not in self.metrics]
        leave(learn, self.objective)
        if self._before is not None:
            self.objective.load_state_dict(self._before)
        self.distiller.close()


def _refuse_what_cannot_work(learn: Learner) -> None:
    if isinstance(learn.model, Distilled):
        raise InputError(
            "KnowledgeDistillationCallback: expected one for a learner, found two; give all "
            "terms to one: loss=[Term(...), Term(...)]"
        )
    if any(isinstance(callback, ParallelTrainer) for callback in _callbacks(learn)):
        raise InputError(
            "KnowledgeDistillationCallback: DataParallel hands each copy of the model a part of "
            "the inputs and the targets to none; use learn.distrib_ctx() instead of parallel_ctx"
        )


def _callbacks(learn: Learner) -> list[Callback]:
    return list(learn.cbs)
