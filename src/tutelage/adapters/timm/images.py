"""What the loader gives, and what a teacher of timm expects: the statistics and sizes of images."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.adapters.timm.heads import channels_of
from tutelage.errors import TeacherError
from tutelage.teachers import InputSpec

DataConfig = Mapping[str, Any] | InputSpec
Statistics = tuple[tuple[float, ...], tuple[float, ...]]


def conversion(
    teacher: nn.Module,
    student: nn.Module,
    data_config: DataConfig | None,
    statistics: Statistics | None = None,
    *,
    is_published: bool = False,
) -> tuple[InputSpec, InputSpec]:
    """Return the images that are given and those that the teacher expects.

    The loader's statistics are those of ``data_config``; without them they are taken from the
    student's ``pretrained_cfg``, as timm does, which is wrong under ``--mean`` and ``--std``. A
    teacher without a ``pretrained_cfg`` takes the student's images as they are.

    Args:
        teacher: The teacher's module.
        student: The student.
        data_config: timm's ``resolve_data_config(...)``, or a spec.
        statistics: Mean and std that the teacher expects, if not those of its ``pretrained_cfg``.
        is_published: Whether the model is as its ``pretrained_cfg`` says also in its size.

    Raises:
        TeacherError: The teacher states statistics, and those of the loader are not known, or do
            not fit the channels.
    """
    channels, wanted_channels = _channels(data_config, student), channels_of(teacher)
    config = _config(teacher)
    theirs = statistics or _statistics(config)
    size = _fixed_size(teacher, config if is_published else {})
    interpolation = config.get("interpolation")
    resize: dict[str, Any] = {"size": size}
    if interpolation in ("bicubic", "nearest"):
        resize["interpolation"] = interpolation
    mine = _loader_statistics(data_config, student)
    if theirs is None or (mine == theirs and channels == wanted_channels):
        return InputSpec(channels=channels), InputSpec(channels=wanted_channels, **resize)
    if mine is None:
        raise TeacherError(
            f"{type(teacher).__name__}: it expects images of mean {theirs[0]} and std "
            f"{theirs[1]}, and the loader's are not known; pass data_config="
            "timm.data.resolve_data_config(...) with those of your loader, or "
            "teacher_model=tl.FrozenTeacher(model) to hand its images on unchanged"
        )
    mean, std = _fitted(mine, channels, "the loader's images")
    wanted_mean, wanted_std = _fitted(theirs, wanted_channels, "the teacher")
    return (
        InputSpec(mean=mean, std=std),
        InputSpec(mean=wanted_mean, std=wanted_std, **resize),
    )


def example_of(data_config: DataConfig | None, student: nn.Module) -> Tensor | None:
    """Return two random images as the loader gives them, if their size is known."""
    if isinstance(data_config, InputSpec):
        shape = (data_config.channels or channels_of(student) or 3, *(data_config.size or ()))
    else:
        shape = tuple((data_config or {}).get("input_size", ()))
    if len(shape) != 3:
        return None
    own = torch.Generator().manual_seed(0)  # the caller's random numbers stay as they are
    return torch.randn(2, *shape, generator=own)


def _config(model: nn.Module) -> Mapping[str, Any]:
    return getattr(model, "pretrained_cfg", None) or {}


def _statistics(config: Mapping[str, Any]) -> Statistics | None:
    if config.get("mean") is None or config.get("std") is None:
        return None
    return tuple(map(float, config["mean"])), tuple(map(float, config["std"]))


def _loader_statistics(data_config: DataConfig | None, student: nn.Module) -> Statistics | None:
    if isinstance(data_config, InputSpec):
        if data_config.mean is None or data_config.std is None:
            return None
        return data_config.mean, data_config.std
    return _statistics(data_config or {}) or _statistics(_config(student))


def _channels(data_config: DataConfig | None, student: nn.Module) -> int | None:
    if isinstance(data_config, InputSpec):
        return data_config.channels or channels_of(student)
    size = (data_config or {}).get("input_size")
    return int(size[0]) if size else channels_of(student)


def _fitted(statistics: Statistics, channels: int | None, whose: str) -> Statistics:
    """Return one mean and std per channel; equal ones serve any number of channels."""
    mean, std = statistics
    if channels in (None, len(mean)):
        return statistics
    if len(set(mean)) == len(set(std)) == 1:
        assert channels is not None
        return mean[:1] * channels, std[:1] * channels
    raise TeacherError(
        f"{whose}: expected one mean and std for each of {channels} channels, found {len(mean)}: "
        f"{mean}; state them in data_config=dict(mean=..., std=...) for the loader, or in "
        "teacher_model=tl.FrozenTeacher(model, inputs=tl.InputSpec(...), given=...)"
    )


def _fixed_size(model: nn.Module, published: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the one size that a model takes; ``None`` where it takes any."""
    patches: Any = getattr(model, "patch_embed", None)
    if getattr(patches, "strict_img_size", False) and getattr(patches, "img_size", None):
        height, width = patches.img_size
        return int(height), int(width)
    if published.get("fixed_input_size") and published.get("input_size"):
        _, height, width = published["input_size"]
        return int(height), int(width)
    return None
