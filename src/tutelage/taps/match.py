"""Find layers of a student and a teacher that can be compared."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tutelage.errors import TapError
from tutelage.taps.trace import Seen, trace

Resolution = tuple[int, ...]

_MOST_TOKEN_PAIRS = 4


@dataclass(frozen=True)
class LayerPair:
    """A layer of the student and the layer of the teacher that it can learn from.

    Args:
        student: Name of the student's layer.
        teacher: Name of the teacher's layer.
        student_shape: Shape of the student's tensor, with the batch.
        teacher_shape: Shape of the teacher's tensor, with the batch.
    """

    student: str
    teacher: str
    student_shape: tuple[int, ...]
    teacher_shape: tuple[int, ...]


def match_layers(
    student: nn.Module, teacher: nn.Module, inputs: Any, teacher_inputs: Any = None
) -> list[LayerPair]:
    """Pair blocks of two models that work at one resolution, from shallow to deep.

    The resolution of a map ``[B, C, H, W]`` is ``(H, W)``, that of tokens ``[B, N, D]`` is ``N``.
    For each resolution that both models have, the last block of each is taken; blocks that keep
    one token resolution throughout, as in a transformer, are paired at up to four equal
    relative depths. Single layers count only in models without blocks. Left out are pooled outputs,
    layers that run more than once, the insides of blocks that change the resolution, and containers
    that merely hold the whole body.

    Runs one forward of each model in eval mode; both are left as they were.

    Args:
        student: The model to train.
        teacher: The model to learn from.
        inputs: A tensor, a tuple of positional or a dict of keyword arguments.
        teacher_inputs: The same for the teacher, where it takes other inputs.

    Raises:
        TapError: If no resolution is common to both.

    >>> def net(width):
    ...     return nn.Sequential(nn.Conv2d(1, width, 3, 2, 1), nn.Conv2d(width, width, 3, 2, 1))
    >>> for pair in match_layers(net(4), net(8), torch.zeros(1, 1, 8, 8)):
    ...     print(pair.student, pair.teacher, pair.student_shape, pair.teacher_shape)
    0 0 (1, 4, 4, 4) (1, 8, 4, 4)
    1 1 (1, 4, 2, 2) (1, 8, 2, 2)
    """
    mine = _by_resolution(_blocks(trace(student, inputs)))
    other = inputs if teacher_inputs is None else teacher_inputs
    theirs = _by_resolution(_blocks(trace(teacher, other)))
    common = [resolution for resolution in mine if resolution in theirs]
    if not common:
        raise TapError(
            "match_layers: expected a resolution that both models have, found student "
            f"{_text(mine)} vs teacher {_text(theirs)}; feed both the same size of input, or name "
            "the layers yourself and let a projector resize"
        )
    pairs = [
        pair
        for resolution in common
        for pair in zip(*_equally_deep(mine[resolution], theirs[resolution]), strict=True)
    ]
    return [LayerPair(one.name, two.name, one.shape, two.shape) for one, two in pairs]


def _equally_deep(mine: list[Seen], theirs: list[Seen]) -> tuple[list[Seen], list[Seen]]:
    """Return equally many layers of both: the deepest, or a ladder of transformer blocks."""
    if len(mine[0].shape) == 3:
        mine, theirs = _stack(mine), _stack(theirs)
        count = min(len(mine), len(theirs), _MOST_TOKEN_PAIRS)
        return _spread(mine, count), _spread(theirs, count)
    return mine[-1:], theirs[-1:]


def _spread(layers: list[Seen], count: int) -> list[Seen]:
    """Return ``count`` layers at the relative depths 1/count, 2/count, ... 1."""
    return [layers[math.ceil(len(layers) * (i + 1) / count) - 1] for i in range(count)]


def _stack(layers: list[Seen]) -> list[Seen]:
    """Return the largest group of siblings, such as ``blocks.0 ... blocks.11``."""
    groups: dict[str, list[Seen]] = {}
    for seen in layers:
        groups.setdefault(seen.name.rpartition(".")[0], []).append(seen)
    return max(groups.values(), key=len)


def _by_resolution(layers: Iterable[Seen]) -> dict[Resolution, list[Seen]]:
    groups: dict[Resolution, list[Seen]] = {}
    for seen in layers:
        groups.setdefault(_resolution(seen), []).append(seen)
    return groups


def _resolution(seen: Seen) -> Resolution:
    return seen.shape[2:] if len(seen.shape) == 4 else seen.shape[1:2]


def _blocks(layers: list[Seen]) -> list[Seen]:
    """Return the layers worth comparing: blocks, or in models without them single layers."""
    fit = [seen for seen in layers if _is_comparable(seen)]
    blocks = [seen for seen in fit if any(True for _ in seen.module.children())]
    blocks = [seen for seen in blocks if not _is_body(seen, blocks, layers)]
    blocks = [seen for seen in blocks if not _is_inside_another_resolution(seen, blocks)]
    return blocks or [seen for seen in fit if not any(True for _ in seen.module.children())]


def _is_comparable(seen: Seen) -> bool:
    is_spatial = len(seen.shape) in (3, 4) and torch.Size(_resolution(seen)).numel() > 1
    kind = type(seen.module).__name__
    learns_nothing = "Pool" in kind or "Dropout" in kind or kind == "Identity"
    return is_spatial and seen.calls == 1 and not learns_nothing


def _is_inside_another_resolution(seen: Seen, blocks: list[Seen]) -> bool:
    """Whether ``seen`` is the first half of a block that changes the resolution."""
    return any(
        seen.name.startswith(other.name + ".") and _resolution(other) != _resolution(seen)
        for other in blocks
    )


def _is_body(seen: Seen, blocks: list[Seen], layers: list[Seen]) -> bool:
    """Whether ``seen`` only holds the body: a child gives the same tensor, under a better name.

    A body holds all other blocks, or stages of several resolutions. Without the first rule the
    deepest layer of a resolution would be '0' or 'features' rather than the stage in it.
    """
    below = [other for other in layers if other.name.startswith(seen.name + ".")]
    if not any(other.tensor == seen.tensor for other in below):
        return False
    depth = seen.name.count(".") + 1
    stages = [other for other in below if other.name.count(".") == depth and len(other.shape) > 2]
    holds_all = all(
        (other.name + ".").startswith(seen.name + ".") or seen.name.startswith(other.name + ".")
        for other in blocks
    )
    return holds_all or len({_resolution(stage) for stage in stages}) > 1


def _text(groups: Iterable[Resolution]) -> str:
    return ", ".join("x".join(map(str, resolution)) for resolution in groups) or "none"
