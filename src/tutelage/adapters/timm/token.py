"""Distillation by a token of its own (DeiT, 2012.12877), as one of timm's tasks."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import _check
from tutelage.adapters.timm.criterion import Criterion, criterion_for
from tutelage.adapters.timm.framework import unwrap_model
from tutelage.adapters.timm.images import DataConfig, example_of
from tutelage.adapters.timm.task import DistillationTask
from tutelage.adapters.timm.teacher import AnyTeacher, TeacherOptions, teacher_for
from tutelage.adapters.timm.terms import AnyLoss, loss_of, terms_of
from tutelage.adapters.timm.weights import weights_for
from tutelage.errors import InputError
from tutelage.losses import HardLabelLoss, KDLoss
from tutelage.losses.base import Schedule
from tutelage.objective import Term


class TokenDistillationTask(DistillationTask):
    """Train a student's class head on labels, and its distillation head on the teacher.

    Equal to timm's own task of that name in training, in values and gradients. In eval mode, where
    such students return the average of both heads, both losses are those of the average.

    Args:
        student_model: A model whose ``set_distilled_training(True)`` makes it return the logits of
            both heads in training: timm's deit, levit, pit, efficientformer, repvit ..., and our
            ``distilled_vit``. A model without the method must have a second head ``head_dist``.
        teacher_model: See :class:`LogitDistillationTask`.
        criterion: The loss of the class head on labels.
        criterion_kwargs: See :class:`LogitDistillationTask`.
        teacher_pretrained_path: See there.
        teacher_pretrained_cfg_overlay: See there.
        distill_type: ``"soft"`` (divergence at a temperature) or ``"hard"`` (the teacher's
            decision as label).
        distill_loss_weight: See :class:`LogitDistillationTask`.
        task_loss_weight: See there.
        temperature: T above 0, or a schedule, for ``"soft"`` and losses by name that have one.
        device: See :class:`LogitDistillationTask`.
        dtype: See there.
        verbose: See there.
        loss_type: Another loss for the distillation head, in place of ``distill_type``: a name, a
            loss, or terms; a term reaches that head by ``at=("output:1", None)``.
        data_config: See :class:`LogitDistillationTask`.
        class_map: See there.
        teacher_num_classes: See there.
        allow_random_head: See there.
        example: See there.

    Raises:
        InputError: The student has one head; weights, temperature or names out of range.
        TeacherError: A teacher whose images cannot be converted from the loader's.
    """

    kd_key = "distill_loss"

    def __init__(
        self,
        student_model: nn.Module,
        teacher_model: AnyTeacher,
        criterion: Criterion | None = None,
        criterion_kwargs: Mapping[str, Any] | None = None,
        teacher_pretrained_path: str | Path | None = None,
        teacher_pretrained_cfg_overlay: Mapping[str, Any] | None = None,
        distill_type: str = "soft",
        distill_loss_weight: float | Schedule | None = None,
        task_loss_weight: float | Schedule | None = None,
        temperature: float | Schedule = 1.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        verbose: bool = True,
        *,
        loss_type: AnyLoss | None = None,
        data_config: DataConfig | None = None,
        class_map: Sequence[int] | None = None,
        teacher_num_classes: int | None = None,
        allow_random_head: bool = False,
        example: Tensor | None = None,
    ) -> None:
        super().__init__(device=device, dtype=dtype, verbose=verbose)
        _check.one_of(distill_type, ("soft", "hard"), "distill_type")
        loss_type = distill_type if loss_type is None else loss_type
        own = terms_of(loss_type)
        weights = weights_for(task_loss_weight, distill_loss_weight, has_terms=own is not None)
        words: dict[str, Any] = {
            "soft": partial(KDLoss, temperature=temperature),
            "hard": HardLabelLoss,
        }
        terms = own or [
            Term(
                loss_of(loss_type, words, temperature),
                weights.distill,
                at=("output:1", None),
                name=self.kd_key,
            )
        ]
        _use_both_heads(unwrap_model(student_model))
        options = TeacherOptions(
            path=teacher_pretrained_path,
            overlay=teacher_pretrained_cfg_overlay or {},
            class_map=class_map,
            num_classes=teacher_num_classes,
            allow_random_head=allow_random_head,
            data_config=data_config,
            dtype=dtype,
            device=device,
        )
        self._assemble(
            student_model,
            teacher_for(teacher_model, student_model, options),
            terms,
            weights,
            criterion_for(criterion, criterion_kwargs, self.device),
            class_axis=None,
            example=example if example is not None else example_of(data_config, student_model),
        )


def _use_both_heads(student: nn.Module) -> None:
    switch: Any = getattr(student, "set_distilled_training", None)
    if switch is None and getattr(student, "head_dist", None) is None:
        raise InputError(
            f"student_model: expected a student with a distillation head, found "
            f"{type(student).__name__} without set_distilled_training(); use a distilled model, "
            "such as timm's deit_tiny_distilled_patch16_224, or LogitDistillationTask"
        )
    if switch is not None:
        switch(True)
