"""What a model returns, read in one way: a tensor, several heads, a mapping or an object."""

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from tutelage.errors import InputError, TapError

OUTPUT = "output:"
"""How the place begins that means an item of what the student returns: ``output:1``."""


def call(model: nn.Module, inputs: Any) -> Any:
    """Return ``model``'s output for a tensor, a tuple of arguments or a dict of keywords."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(inputs)


def logits_of(output: Any, who: str) -> Tensor:
    """Return the logits in a model's output.

    They are the output itself, its item ``logits``, or the first of several heads: a student with
    a distillation token returns ``(class head, distillation head)`` while it trains.

    Args:
        output: What the model returned.
        who: ``"student"`` or ``"teacher"``, for the message.

    Raises:
        InputError: If no logits can be found.
    """
    if isinstance(output, Tensor):
        return output
    logits: Any = (
        output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    )
    if isinstance(logits, Tensor):
        return logits
    heads = list(output) if isinstance(output, tuple | list) else []
    if heads and all(map(_is_batch, heads)):
        return cast(Tensor, heads[0])
    raise InputError(
        f"{who}: expected the model to return a tensor of logits, something with `logits`, or "
        f"several heads, the logits first; found {describe(output)}; wrap the model so that it does"
    )


def item_of(output: Any, place: str) -> Tensor:
    """Return the item of the student's output that ``output:1`` or ``output:dist`` means.

    A bare tensor is every item of itself: a student with one head has all its knowledge there,
    and one with several gives their mean in eval mode.

    Raises:
        TapError: If the output has no such item, or it is no tensor.

    >>> import torch
    >>> heads = torch.zeros(2, 3), torch.ones(2, 3)
    >>> item_of(heads, "output:1").mean().item(), item_of(heads[0], "output:1").mean().item()
    (1.0, 0.0)
    """
    if isinstance(output, Tensor):
        return output
    key = place.removeprefix(OUTPUT)
    item: Any = None
    if isinstance(output, Mapping):
        item = output.get(key)
    elif key.isdecimal() and isinstance(output, tuple | list):
        item = output[int(key)] if int(key) < len(output) else None
    else:
        item = getattr(output, key, None)
    if isinstance(item, Tensor):
        return item
    raise TapError(
        f"'{place}': expected a tensor at {key!r} of what the student returns, found "
        f"{describe(output)}; name an item that is there, or tap a layer"
    )


def describe(value: Any) -> str:
    """Return what a value is in the words of a message: its kind, keys and shapes."""
    if isinstance(value, Tensor):
        return f"Tensor {list(value.shape)}"
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with keys {list(value)}"
    if isinstance(value, tuple | list):
        return f"{type(value).__name__} of {[describe(item) for item in value]}"
    return type(value).__name__


def _is_batch(value: Any) -> bool:
    """Return whether a value can be one of several heads; a loss, or a nest of states, cannot."""
    return isinstance(value, Tensor) and value.ndim >= 2
