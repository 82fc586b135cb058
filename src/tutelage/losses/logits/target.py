"""Class indices for losses that tell the true class from the others."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutelage import _check
from tutelage.errors import InputError, ShapeError


def class_indices(
    logits: Float[Tensor, "*B C"], target: Tensor, kept: Bool[Tensor, "*B"] | None, who: str
) -> Int[Tensor, "*B"]:
    """Return the true class of each position as int64, 0 where the position is dropped.

    Raises:
        InputError: The target holds probabilities, as mixup makes them: there is no true class.
        ShapeError: The target is not one class for each position.
    """
    if target.is_floating_point():
        raise InputError(
            f"{who}: expected class indices, found probabilities {_check.shape(target)}: with "
            "mixed labels there is no true class; leave mixup and cutmix out, or use KDLoss"
        )
    if target.shape != logits.shape[:-1]:
        raise ShapeError(
            f"{who}: expected one class for each position of logits {_check.shape(logits)}, so a "
            f"target {list(logits.shape[:-1])}, found {_check.shape(target)}"
        )
    indices = target.long()
    return indices if kept is None else indices.masked_fill(~kept, 0)


def true_class(
    logits: Float[Tensor, "*B C"], target: Tensor, kept: Bool[Tensor, "*B"] | None, who: str
) -> Bool[Tensor, "*B C"]:
    """Return a mask that is true at the true class of each position, at class 0 where dropped.

    Raises:
        InputError: The target holds probabilities.
        ShapeError: The target is not one class for each position.
        DataError: A class is outside ``[0, C)``. CUDA and compiled code report it in their way.
    """
    indices = class_indices(logits, target, kept, who)
    mask = torch.zeros_like(logits, dtype=torch.bool)
    try:
        return mask.scatter_(-1, indices.unsqueeze(-1), True)
    except RuntimeError:
        _check.labels(indices, logits.shape[-1])
        raise


def of_class(values: Float[Tensor, "*B C"], indices: Int[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Return each position's value of one class.

    Raises:
        DataError: A class is outside ``[0, C)``. CUDA and compiled code report it in their way.
    """
    try:
        return values.gather(-1, indices.unsqueeze(-1)).squeeze(-1)
    except RuntimeError:
        _check.labels(indices, values.shape[-1])
        raise
