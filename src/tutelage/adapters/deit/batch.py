"""What DeiT's engine hands to its criterion, taken apart."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from tutelage._check import shape
from tutelage.errors import InputError, ShapeError
from tutelage.signals import OUTPUT, item_of, logits_of


def heads_of(outputs: Any, head: int | str) -> tuple[Tensor, Tensor]:
    """Return class head and distillation head: one tensor twice where there is one head.

    Args:
        outputs: A tensor, a tuple with the class head first, or a mapping with it as ``logits``.
        head: Place or key of the distillation head.

    Raises:
        InputError: There are no logits, or a mapping has a second head and not this key.
        TapError: A tuple is too short.
    """
    cls = logits_of(outputs, "student")
    if isinstance(outputs, Tensor) or (isinstance(outputs, tuple | list) and len(outputs) == 1):
        return cls, cls
    if isinstance(outputs, tuple | list) or _has(outputs, head):
        return cls, item_of(outputs, f"{OUTPUT}{head}")
    items = outputs if isinstance(outputs, Mapping) else vars(outputs)
    alike = [
        key
        for key, item in items.items()
        if isinstance(item, Tensor) and item is not cls and item.shape == cls.shape
    ]
    if alike:
        raise InputError(
            f"student: expected the distillation head at {head!r} of its output, found "
            f"{', '.join(map(repr, alike))} beside 'logits'; say which it is, as head={alike[0]!r}"
        )
    return cls, cls


def refuse_single_batch(logits: Tensor, labels: Tensor) -> None:
    """Raise unless the logits are those of two passes over the labelled batch."""
    if len(logits) != 2 * len(labels):
        raise ShapeError(
            f"CosubLoss: expected logits of {2 * len(labels)} samples for {len(labels)} labels, "
            f"as the batch goes through the student twice, found {shape(logits)}; call "
            "model(torch.cat([samples, samples]))"
        )


def first_half(inputs: Any) -> Tensor:
    """Return the first of the two copies of the batch."""
    if not isinstance(inputs, Tensor):
        raise InputError(
            f"CosubLoss: expected the inputs as one tensor, found {type(inputs).__name__}; for "
            "other inputs train a tl.Distiller with a Submodels student"
        )
    return inputs[: len(inputs) // 2]


def _has(outputs: Any, head: int | str) -> bool:
    return head in outputs if isinstance(outputs, Mapping) else hasattr(outputs, str(head))
