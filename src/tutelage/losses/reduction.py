"""How class sums and batch means treat what does not count: empty classes, dropped positions."""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


def expected(weight: Float[Tensor, "*B C"], value: Float[Tensor, "*B C"]) -> Float[Tensor, "*B"]:
    """Return the sum over classes of ``weight * value``, where ``0 * inf`` is 0.

    A class that the teacher rules out (a logit of ``-inf``) adds nothing to the value and nothing
    to the gradient, whatever the student says about it.

    >>> import torch
    >>> weight, value = torch.tensor([[0.25, 0.75, 0.0]]), torch.tensor([[4.0, 8.0, -torch.inf]])
    >>> expected(weight, value)
    tensor([7.])
    """
    return weighted(weight, value.clone()).sum(-1)


def weighted(weight: Float[Tensor, "*B C"], value: Float[Tensor, "*B C"]) -> Float[Tensor, "*B C"]:
    """Return ``weight * value``, where ``0 * inf`` is 0; ``value`` is overwritten."""
    return value.masked_fill_(weight == 0, 0.0) * weight


def kept_positions(
    logits: Float[Tensor, "*B C"], target: Tensor | None, ignore_index: int
) -> Bool[Tensor, "*B"] | None:
    """Return which positions count, or ``None`` where the target drops none.

    Only class indices, one for each position of ``logits``, can drop positions; soft targets and
    targets of another task cannot.
    """
    if target is None or target.is_floating_point() or target.shape != logits.shape[:-1]:
        return None
    return None if drops_nothing(target, ignore_index) else is_kept(target, ignore_index)


def is_kept(target: Tensor, ignore_index: int) -> Bool[Tensor, "*B"]:
    """Return which class indices are not the one that drops a position.

    >>> is_kept(torch.tensor([156, 3], dtype=torch.uint8), -100)  # where -100 would be 156
    tensor([True, True])
    """
    return (target if target.dtype == torch.int64 else target.long()) != ignore_index


def drops_nothing(target: Tensor, ignore_index: int) -> bool:
    """Return whether it is known, without waiting for a device, that every position counts.

    The CPU may be asked at once, and most batches drop nothing: what a masked mean would cost
    is more than a tenth of a small step.

    >>> drops_nothing(torch.tensor([0, 3]), -100), drops_nothing(torch.tensor([0, -100]), -100)
    (True, False)
    """
    if ignore_index >= 0 or target.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if not target.numel():
        return False
    try:
        return bool(np.minimum.reduce(target.numpy(), axis=None) >= 0)  # quicker than target.min()
    except RuntimeError:  # a transform such as vmap, under which no value may be looked at
        return False


def blank_dropped(
    logits: Float[Tensor, "*B C"], kept: Bool[Tensor, "*B"] | None
) -> Float[Tensor, "*B C"]:
    """Return ``logits`` with zeros at dropped positions, so that no NaN there can spread.

    It must come before any softmax: the backward of one multiplies what it saved with 0, which
    leaves a NaN a NaN.
    """
    return logits if kept is None else logits.masked_fill(~kept.unsqueeze(-1), 0.0)


def mean_of_kept(
    values: Float[Tensor, "*B"], kept: Bool[Tensor, "*B"] | None = None
) -> Float[Tensor, ""]:
    """Return the mean over the kept positions: 0, with its graph, where there are none.

    Args:
        values: Values that are 0 where not kept.
        kept: Which positions count; ``None`` for all.

    >>> import torch
    >>> mean_of_kept(torch.tensor([1.0, 3.0, 0.0]), torch.tensor([True, True, False]))
    tensor(2.)
    """
    if kept is None:
        return values.mean() if values.numel() else values.sum()
    return values.sum() / kept.sum().clamp(min=1)
