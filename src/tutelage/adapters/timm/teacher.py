"""The teacher of a task, from whatever a timm user has: a name, a module, several of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage import models
from tutelage.adapters.timm.framework import DistillationTeacher, get_pretrained_cfg, unwrap_model
from tutelage.adapters.timm.heads import channels_of, classes_of
from tutelage.adapters.timm.images import DataConfig, Statistics, conversion
from tutelage.errors import InputError, TeacherError
from tutelage.teachers import EnsembleTeacher, FrozenTeacher, Teacher

OneTeacher = str | nn.Module | Teacher
AnyTeacher = OneTeacher | Sequence[OneTeacher] | Mapping[str, OneTeacher]


@dataclass(frozen=True)
class TeacherOptions:
    """What goes with a teacher that is a name or a module; a ready teacher has its own.

    Args:
        path: A local file with its weights.
        overlay: Changes to the ``pretrained_cfg`` of a name.
        class_map: For each class of the student, the index of the same class of the teacher.
        class_axis: The class axis of its logits.
        num_classes: The teacher's own number of classes, where it is a name.
        allow_random_head: Accept weights for another number of classes.
        for_features: Whether only its features count, so that its classes may be any.
        data_config: The images that the loader gives.
        dtype: Of a teacher by name.
        device: Where it goes, if anywhere.
    """

    path: str | Path | None = None
    overlay: Mapping[str, Any] = field(default_factory=dict)
    class_map: Sequence[int] | None = None
    class_axis: int | None = None
    num_classes: int | None = None
    allow_random_head: bool = False
    for_features: bool = False
    data_config: DataConfig | None = None
    dtype: torch.dtype | None = None
    device: torch.device | None = None


def teacher_for(teacher: AnyTeacher, student: nn.Module, options: TeacherOptions) -> Teacher:
    """Return the teacher, frozen; several become an :class:`~tutelage.EnsembleTeacher`.

    Raises:
        TeacherError: It is none, or its images cannot be converted.
        InputError: An unknown name, or weights for other classes.
    """
    found = _resolve(teacher, unwrap_model(student), options)
    if options.device is not None:
        found.apply_to_tensors(lambda tensor: tensor.to(options.device))
    return found


def modules_of(teacher: Teacher) -> dict[str, nn.Module]:
    """Return the modules whose layers can be named, by what stands before the names.

    >>> list(modules_of(EnsembleTeacher({"a": FrozenTeacher(nn.Linear(2, 2))})))
    ['a/']
    """
    if isinstance(teacher, FrozenTeacher):
        return {"": teacher.model}
    if isinstance(teacher, EnsembleTeacher):
        found = {name: modules_of(one).get("") for name, one in teacher.members.items()}
        return {f"{name}/": module for name, module in found.items() if module is not None}
    return {}


def _resolve(teacher: Any, student: nn.Module, options: TeacherOptions) -> Teacher:
    if isinstance(teacher, Mapping):
        return EnsembleTeacher({k: _resolve(one, student, options) for k, one in teacher.items()})
    if isinstance(teacher, list | tuple):
        return EnsembleTeacher([_resolve(one, student, options) for one in teacher])
    if isinstance(teacher, Teacher):
        _refuse_ignored(options)
        return teacher
    if isinstance(teacher, str):
        model = _named(teacher, student, options)
        return _frozen(model, student, options, is_published=True)
    if isinstance(teacher, DistillationTeacher):
        mean, std = (tuple(t.flatten().tolist()) for t in (teacher.mean_kd, teacher.std_kd))
        return _frozen(unwrap_model(teacher.model), student, options, (mean, std))
    if isinstance(teacher, nn.Module):
        if options.path is not None:
            models.load_weights(teacher, options.path, allow_random_head=options.allow_random_head)
        return _frozen(unwrap_model(teacher), student, options)
    raise TeacherError(
        "teacher_model: expected a model's name, a module, a tutelage teacher or several of them, "
        f"found {type(teacher).__name__}"
    )


def _frozen(
    model: nn.Module,
    student: nn.Module,
    options: TeacherOptions,
    statistics: Statistics | None = None,
    *,
    is_published: bool = False,
) -> FrozenTeacher:
    given, wanted = conversion(
        model, student, options.data_config, statistics, is_published=is_published
    )
    axis = -1 if options.class_axis is None else options.class_axis
    return FrozenTeacher(
        model, inputs=wanted, given=given, class_map=options.class_map, class_axis=axis
    )


def _named(name: str, student: nn.Module, options: TeacherOptions) -> nn.Module:
    source, slash, _ = name.partition("/")
    is_ours = (slash and source in ("timm", "torchvision")) or name in models.index()
    name = name if is_ours else f"timm/{name}"
    channels = channels_of(student)
    overlay: dict[str, Any] = (
        {"pretrained_cfg_overlay": dict(options.overlay)} if options.overlay else {}
    )
    model = models.create(
        name,
        num_classes=_classes_for(name, student, options),
        # A teacher of colour takes grey images repeated: exact, where a summed first layer is not.
        in_channels=channels if channels not in (None, 1) else 3,
        weights=options.path,
        pretrained=options.path is None,
        allow_random_head=options.allow_random_head,
        **overlay,
    )
    return model if options.dtype is None else model.to(options.dtype)


def _classes_for(name: str, student: nn.Module, options: TeacherOptions) -> int:
    if options.num_classes is not None:
        return options.num_classes
    source, _, rest = name.partition("/")
    # Its own classes where they are mapped, or do not matter; a local file must state them.
    if source == "timm" and options.path is None and (options.class_map or options.for_features):
        config = get_pretrained_cfg(rest)
        if config is not None and config.num_classes:
            return int(config.num_classes)
    classes = classes_of(student) if options.class_map is None else None
    if classes is None:
        raise InputError(
            f"teacher {name!r}: expected to know how many classes it has, found no way to tell; "
            "pass teacher_num_classes=..."
        )
    return classes


def _refuse_ignored(options: TeacherOptions) -> None:
    ignored = {
        "teacher_pretrained_path": options.path is not None,
        "teacher_pretrained_cfg_overlay": bool(options.overlay),
        "class_map": options.class_map is not None,
        "teacher_num_classes": options.num_classes is not None,
        "allow_random_head": options.allow_random_head,
    }
    given = [name for name, is_given in ignored.items() if is_given]
    if given:
        raise InputError(
            f"{', '.join(given)}: goes with a name or a module, found a ready teacher; build the "
            "teacher with it, such as tl.FrozenTeacher(..., class_map=[...])"
        )
