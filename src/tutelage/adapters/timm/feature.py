"""Distillation by features, as one of timm's tasks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.adapters.timm.criterion import Criterion, criterion_for
from tutelage.adapters.timm.images import DataConfig, example_of
from tutelage.adapters.timm.places import Places, places_of, vias_of
from tutelage.adapters.timm.task import DistillationTask
from tutelage.adapters.timm.teacher import AnyTeacher, TeacherOptions, teacher_for
from tutelage.adapters.timm.terms import AnyLoss, loss_of, terms_at, terms_of
from tutelage.adapters.timm.weights import weights_for
from tutelage.losses import HintLoss
from tutelage.losses.base import Schedule


class FeatureDistillationTask(DistillationTask):
    """Train a student on labels and on its teacher's features.

    Without further words the features are those before the classifiers (pooled, pre-logits), and
    the loss is their mean squared difference, after a linear projector of the student's where the
    widths differ: equal to timm's own task of that name, in values and gradients. Of a student or
    teacher with two heads (DeiT's distilled ones) it is the class token's feature.

    The student runs once, through its own ``forward``. A teacher by name keeps its own classes.

    Args:
        student_model: Any module that returns logits.
        teacher_model: See :class:`LogitDistillationTask`. Layers of several teachers are named
            ``"member/layer"``; by default each of them is regressed before its classifier.
        criterion: See :class:`LogitDistillationTask`.
        criterion_kwargs: See there.
        teacher_pretrained_path: See there.
        teacher_pretrained_cfg_overlay: See there.
        distill_loss_weight: See there.
        task_loss_weight: See there.
        student_feature_dim: The width of the student's features, where it cannot be told.
        teacher_feature_dim: The teacher's.
        device: See :class:`LogitDistillationTask`.
        dtype: See there.
        verbose: See there.
        student_layer: The student's layer, ``"layer3"``, ``"layer3:pooled"`` (the mean over pixels
            or tokens) or ``"fc:in"`` (its input).
        teacher_layer: The teacher's; by default that before its classifier.
        layers: Several pairs ``(student_layer, teacher_layer)`` in place of one.
        loss_type: ``"mse"``; the name of another loss; a loss; or terms with weights and places of
            their own. A loss of one layer is taken for each pair, with a projector each.
        data_config: See :class:`LogitDistillationTask`.
        teacher_num_classes: See there.
        example: See there. Layers that are named need it, or a size in ``data_config``, so that
            projectors have their shapes before an optimiser is made.

    Raises:
        InputError: Weights or names out of range, or widths that cannot be told.
        TapError: A layer that does not exist.
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
        distill_loss_weight: float | Schedule | None = None,
        task_loss_weight: float | Schedule | None = None,
        student_feature_dim: int | None = None,
        teacher_feature_dim: int | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
        verbose: bool = True,
        *,
        student_layer: str | None = None,
        teacher_layer: str | None = None,
        layers: Places | None = None,
        loss_type: AnyLoss = "mse",
        data_config: DataConfig | None = None,
        teacher_num_classes: int | None = None,
        example: Tensor | None = None,
    ) -> None:
        super().__init__(device=device, dtype=dtype, verbose=verbose)
        terms = terms_of(loss_type)
        weights = weights_for(task_loss_weight, distill_loss_weight, has_terms=terms is not None)
        options = TeacherOptions(
            path=teacher_pretrained_path,
            overlay=teacher_pretrained_cfg_overlay or {},
            num_classes=teacher_num_classes,
            for_features=True,
            data_config=data_config,
            dtype=dtype,
            device=device,
        )
        teacher = teacher_for(teacher_model, student_model, options)
        example = example if example is not None else example_of(data_config, student_model)
        if terms is None:
            pairs = places_of(student_model, teacher, student_layer, teacher_layer, layers)
            widths = (student_feature_dim, teacher_feature_dim)
            vias = vias_of(student_model, teacher, pairs, widths, has_example=example is not None)
            loss = loss_of(loss_type, {"mse": HintLoss}, 1.0)
            terms = terms_at(loss, weights.distill, pairs, vias, self.kd_key)
            self._log(f"features: {', '.join(f'{s} -> {t}' for s, t in pairs)}")
        self._assemble(
            student_model,
            teacher,
            terms,
            weights,
            criterion_for(criterion, criterion_kwargs, self.device),
            class_axis=None,
            example=example,
        )
