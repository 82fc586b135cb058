"""Distillation by logits, as one of timm's tasks."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.adapters.timm.criterion import Criterion, criterion_for
from tutelage.adapters.timm.images import DataConfig, example_of
from tutelage.adapters.timm.task import DistillationTask
from tutelage.adapters.timm.teacher import AnyTeacher, TeacherOptions, teacher_for
from tutelage.adapters.timm.terms import AnyLoss, loss_of, terms_of
from tutelage.adapters.timm.weights import weights_for
from tutelage.losses import KDLoss
from tutelage.losses.base import Schedule
from tutelage.objective import Term


class LogitDistillationTask(DistillationTask):
    r"""Train a student on labels and on its teacher's logits.

    .. math:: w_{task} \, \mathrm{criterion}(z^s, y) + w_{distill} \, T^2 \,
        \mathrm{KL}(\mathrm{softmax}(z^t / T) \,\|\, \mathrm{softmax}(z^s / T))

    Equal to timm's own task of that name, in values and gradients, on settings that it has.

    Args:
        student_model: Any module that returns logits.
        teacher_model: A name of timm (``"resnet50"``, with published weights or those of
            ``teacher_pretrained_path``) or ``"torchvision/NAME"``; a module; a teacher of ours; or
            several of them, in a list or by name, whose mean prediction then teaches.
        criterion: The loss on labels, ``(logits, target) -> scalar``.
        criterion_kwargs: What timm makes the criterion from where none is given.
        teacher_pretrained_path: A local file with the teacher's weights, loaded strictly.
        teacher_pretrained_cfg_overlay: Changes to the ``pretrained_cfg`` of a teacher by name.
        loss_type: ``"kl"``; the name of another loss (``tutelage list losses``); a loss, or any
            callable ``(student, teacher) -> scalar``; or terms with weights of their own, which
            then stand for ``distill_loss_weight``.
        distill_loss_weight: Factor of the distillation loss, at least 0, or a schedule. See
            :func:`~tutelage.adapters.timm.weights.weights_for` for the three modes.
        task_loss_weight: Factor of the criterion.
        temperature: T above 0, or a schedule, for ``"kl"`` and losses by name that have one.
        device: Where the criterion and the teacher go; the student stays.
        dtype: Of a teacher by name.
        verbose: Whether to log the settings.
        data_config: What the loader gives, ``timm.data.resolve_data_config(...)`` or an
            :class:`~tutelage.InputSpec`: the teacher's images are converted from its mean and std,
            and its size serves to find mismatches when the task is built. Without it the student's
            ``pretrained_cfg`` is believed.
        class_map: For each class of the student, the index of the same class of the teacher.
        class_axis: The axis of the classes in the logits, if not the last (1 for ``[B, C, H, W]``).
        teacher_num_classes: The classes of a teacher by name, if not the student's.
        allow_random_head: Accept a teacher whose classifier is for other classes and untrained.
        example: Two or more images, in place of random ones of the size in ``data_config``.

    Raises:
        InputError: Weights, temperature or names out of range; classes that differ.
        TeacherError: A teacher whose images cannot be converted from the loader's.
    """

    def __init__(
        self,
        student_model: nn.Module,
        teacher_model: AnyTeacher,
        criterion: Criterion | None = None,
        criterion_kwargs: Mapping[str, Any] | None = None,
        teacher_pretrained_path: str | Path | None = None,
        teacher_pretrained_cfg_overlay: Mapping[str, Any] | None = None,
        loss_type: AnyLoss = "kl",
        distill_loss_weight: float | Schedule | None = None,
        task_loss_weight: float | Schedule | None = None,
        temperature: float | Schedule = 1.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        verbose: bool = True,
        *,
        data_config: DataConfig | None = None,
        class_map: Sequence[int] | None = None,
        class_axis: int | None = None,
        teacher_num_classes: int | None = None,
        allow_random_head: bool = False,
        example: Tensor | None = None,
    ) -> None:
        super().__init__(device=device, dtype=dtype, verbose=verbose)
        own = terms_of(loss_type)
        weights = weights_for(task_loss_weight, distill_loss_weight, has_terms=own is not None)
        words = {"kl": partial(KDLoss, temperature=temperature)}
        terms = own or [
            Term(
                loss_of(loss_type, words, temperature),
                weights.distill,
                name=self.kd_key,
                class_axis=class_axis,
            )
        ]
        options = TeacherOptions(
            path=teacher_pretrained_path,
            overlay=teacher_pretrained_cfg_overlay or {},
            class_map=class_map,
            class_axis=class_axis,
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
            class_axis=class_axis,
            example=example if example is not None else example_of(data_config, student_model),
        )
