"""How losses of features see a tensor: its channels and positions, and which shapes may meet."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import ShapeError


def by_channel(feature: Tensor) -> Float[Tensor, "B C P"]:
    """Return maps ``[B, C, H, W]`` or tokens ``[B, N, D]`` as one row of positions per channel.

    >>> import torch
    >>> by_channel(torch.zeros(2, 3, 4, 5)).shape, by_channel(torch.zeros(2, 7, 6)).shape
    (torch.Size([2, 3, 20]), torch.Size([2, 6, 7]))
    """
    return feature.flatten(2) if feature.ndim == 4 else feature.mT


def same_features(student: Tensor, teacher: Tensor, who: str) -> None:
    """Raise unless both are features ``[B, ...]`` of one shape; say which projector joins them."""
    if student.ndim < 2:
        raise ShapeError(
            f"{who}: expected features [B, ...] with at least two axes, found "
            f"{_check.shape(student)}; keep the feature axis (unsqueeze(1) for one number each)"
        )
    if student.shape != teacher.shape:
        _check.same_shape(student, teacher, where=who, hint=_advice(student, teacher))


def same_maps(student: Tensor, teacher: Tensor, who: str) -> None:
    """Raise unless both are maps ``[B, C, H, W]`` of one shape."""
    if student.ndim != 4 or teacher.ndim != 4:
        raise ShapeError(
            f"{who}: expected two feature maps [B, C, H, W], found student "
            f"{_check.shape(student)} vs teacher {_check.shape(teacher)}; tap a layer before the "
            f"pooling, or map tokens to pixels with via=tl.TokensToMap(...)"
        )
    same_features(student, teacher, who)


def same_layout(student: Tensor, teacher: Tensor, who: str) -> None:
    """Raise unless both are maps or both are tokens, of one batch; nothing else need be equal."""
    found = f"found student {_check.shape(student)} vs teacher {_check.shape(teacher)}"
    if student.ndim != teacher.ndim or student.ndim not in (3, 4):
        raise ShapeError(
            f"{who}: expected two feature maps [B, C, H, W] or two token tensors [B, N, D], "
            f"{found}; tap a layer before the pooling, or map tokens to pixels with "
            f"via=tl.TokensToMap(...)"
        )
    if student.shape[0] != teacher.shape[0]:
        raise ShapeError(f"{who}: expected one batch size, {found}; use the same batch")


def same_positions(student: Tensor, teacher: Tensor, who: str, advice: str = "") -> None:
    """Raise unless both have the same layout, batch and positions; channels may differ."""
    same_layout(student, teacher, who)
    if _positions(student) != _positions(teacher):
        raise ShapeError(
            f"{who}: expected features of the same positions, found student "
            f"{_check.shape(student)} vs teacher {_check.shape(teacher)}; "
            + (advice or "tap layers of one resolution, or join them with a projector (via=)")
        )


def same_channels(student: Tensor, teacher: Tensor, who: str) -> None:
    """Raise unless both have the same layout, batch and channels; positions may differ."""
    same_layout(student, teacher, who)
    axis = 1 if student.ndim == 4 else 2
    if student.shape[axis] != teacher.shape[axis]:
        raise ShapeError(
            f"{who}: expected features of the same channels, found student "
            f"{_check.shape(student)} vs teacher {_check.shape(teacher)}; "
            f'add via="auto" to the Term'
        )


def same_layers(student: Sequence[Tensor], teacher: Sequence[Tensor], who: str) -> None:
    """Raise unless both have as many layers, and at least one."""
    if len(student) != len(teacher) or not len(student):
        raise ShapeError(
            f"{who}: expected student and teacher to give as many layers, at least one, found "
            f"student {len(student)} vs teacher {len(teacher)}; name pairs of layers, "
            f"at=[(student, teacher), ...]"
        )


def _positions(feature: Tensor) -> tuple[int, ...]:
    return tuple(feature.shape[2:]) if feature.ndim == 4 else (feature.shape[1],)


def _advice(student: Tensor, teacher: Tensor) -> str:
    if student.shape[0] != teacher.shape[0]:
        return "both must come from the same batch"
    advice = 'add via="auto" to the Term'
    if student.ndim == teacher.ndim == 4:
        size = (
            f", size={tuple(teacher.shape[2:])}" if student.shape[2:] != teacher.shape[2:] else ""
        )
        return f"{advice}, or via=tl.ConvProjector({student.shape[1]}, {teacher.shape[1]}{size})"
    if student.shape[:-1] == teacher.shape[:-1]:
        return f"{advice}, or via=tl.LinearProjector({student.shape[-1]}, {teacher.shape[-1]})"
    return advice
