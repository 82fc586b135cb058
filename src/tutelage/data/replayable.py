"""Can a data set's random views be played again? Found out by doing so."""

import copy
import random
from collections.abc import Iterator
from functools import partial
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.data.images import ImageData
from tutelage.data.views import replay
from tutelage.errors import InputError

_GENERATORS = (
    np.random.Generator,
    np.random.BitGenerator,
    np.random.RandomState,
    torch.Generator,
    random.Random,
)
# Bound methods such as `random.random` lead to these, which every view seeds.
_SEEDED: tuple[Any, ...] = (
    getattr(random.random, "__self__", None),
    getattr(np.random.rand, "__self__", None),
    torch.default_generator,
)
_VIEWS = 2


def check_replayable(data: ImageData, *, draws: int = 64) -> None:
    """Raise unless the same sample and view give the same pixels whenever they are drawn.

    Each draw is made twice: alone, and later in a batch, in the opposite order and with the global
    random generators of torch, numpy and Python elsewhere. An augmentation with random numbers of
    its own then gives other pixels, as does one that remembers what it did before. One that does
    so in fewer than one draw in ``draws`` may slip through; the marks in a cache find it later.

    Args:
        data: The images with their augmentation, which is called ``2 * draws`` times.
        draws: How many pairs of sample and view to draw.

    Raises:
        InputError: The pixels differ; it names a sample and what draws by itself, if that is found.
    """
    count = min(len(data), max(1, draws // _VIEWS))
    chosen = torch.linspace(0, len(data) - 1, count).long()
    alone = replay(lambda shown: _drawn(shown, chosen, 1), data, seed=1)
    batches = replay(lambda shown: _drawn(shown, chosen.flip(0), count), data, seed=2)
    other = [
        f"sample {data.ids[position]} in view {view}"
        for view in range(_VIEWS)
        for number, position in enumerate(chosen.tolist())
        if not _same(alone[view][number], batches[view][count - 1 - number])
    ]
    if other:
        held = ", ".join(sorted(own_generators(data.transform)))
        culprit = f"it holds a random generator of its own ({held}), which no view can seed; "
        raise InputError(
            f"{data.spec.name}: expected random augmentation that gives a sample the same pixels "
            f"whenever one view of it is drawn, found other pixels in {len(other)} of "
            f"{count * _VIEWS} draws, first {other[0]}; {culprit if held else ''}"
            "a teacher's answers can only be kept for images that come again: draw from the "
            "global generators of torch, numpy or random, which each view seeds (ShiftFlip and "
            "torchvision's transforms do), or train without augmentation or with the live teacher"
        )


def own_generators(transform: object) -> set[str]:
    """Return where ``transform`` holds random generators of its own, as ``"rng: Generator"``.

    It looks through attributes, containers, and what functions close over; a generator behind
    something else is not found.
    """
    found: set[str] = set()
    seen = set(map(id, _SEEDED))
    todo: list[tuple[str, object, int]] = [(type(transform).__name__, transform, 0)]
    while todo:
        name, value, depth = todo.pop()
        if id(value) in seen or depth > 8:
            continue
        seen.add(id(value))
        if isinstance(value, _GENERATORS):
            found.add(f"{name}: {type(value).__name__}")
        else:
            todo += [(inner, held, depth + 1) for inner, held in _held_by(value, name)]
    return found


def _held_by(value: object, name: str) -> Iterator[tuple[str, object]]:
    """Yield what an object refers to, by name, as far as it could lead to a generator."""
    if isinstance(value, str | bytes | int | float | type | ModuleType | Tensor | np.ndarray):
        return
    if isinstance(value, dict):
        yield from ((str(key), held) for key, held in value.items())
    elif isinstance(value, list | tuple | set):
        yield from ((name, held) for held in value)
    elif isinstance(value, partial):
        yield from (("partial", held) for held in (value.func, value.args, value.keywords))
    elif isinstance(value, MethodType | BuiltinMethodType):
        yield "self", value.__self__
        yield "method", getattr(value, "__func__", None)
    elif isinstance(value, FunctionType):
        code = value.__code__
        yield "defaults", (value.__defaults__, value.__kwdefaults__)
        yield from zip(code.co_freevars, _contents(value), strict=True)
        used = value.__globals__
        yield from ((word, used[word]) for word in code.co_names if word in used)
    else:
        yield from getattr(value, "__dict__", {}).items()


def _contents(function: FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not filled yet
            yield None


def _drawn(data: ImageData, positions: Tensor, size: int) -> list[Tensor]:
    """Return the images at ``positions`` in each view, read in batches of ``size``."""
    shown = copy.copy(data)
    views = []
    for view in range(_VIEWS):
        shown.set_view(view)
        parts = [positions[start : start + size] for start in range(0, len(positions), size)]
        views.append(torch.cat([shown.__getitems__(part).inputs for part in parts]))
    return views


def _same(first: Tensor, second: Tensor) -> bool:
    """Whether the bits agree, up to the rounding that a batch of another size may bring."""
    return torch.allclose(first, second, rtol=1e-5, atol=1e-6, equal_nan=True)
