"""Cross-entropy with the labels, with label smoothing (Szegedy et al., CVPR 2016, 1512.00567)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import DataError, ShapeError
from tutelage.losses.base import widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.reduction import (
    blank_dropped,
    drops_nothing,
    expected,
    is_kept,
    mean_of_kept,
)


def cross_entropy(
    logits: Float[Tensor, "*B C"],
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
) -> Float[Tensor, "*B"]:
    r"""Measure how badly the logits predict the target, in nats per position.

    .. math:: H_b = -\sum_c p_{bc} \log \mathrm{softmax}(z_b)_c, \qquad
        p = (1 - \varepsilon)\, y + \varepsilon / C

    Args:
        logits: ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        target: Class indices, one per position, or class probabilities of the logits' shape
            (mixup, cutmix). Each row of probabilities should sum to 1; this is not checked.
        label_smoothing: :math:`\varepsilon`, the share spread evenly over all C classes, from 0
            to 1.
        ignore_index: A class index whose position counts 0. Probabilities drop nothing.

    Raises:
        ShapeError: The target fits neither form.
        DataError: A class index is outside ``[0, C)``. Kernels that check indices by themselves
            (CUDA, compiled code) report it in their own way instead.

    Two classes with equal logits cost log 2 whatever the label:

    >>> import torch
    >>> cross_entropy(torch.zeros(1, 2), torch.tensor([1]))
    tensor([0.6931])
    """
    if target.is_floating_point():
        return _over_probabilities(logits, widen(target), label_smoothing)
    values = _over_indices(logits, target, label_smoothing, ignore_index, "none")
    return values.view(target.shape)


class CELoss(LogitLoss):
    """Cross-entropy with the labels. See :func:`cross_entropy`.

    The mean runs over the positions that are not dropped; where all are, it is 0 with its graph.

    Args:
        label_smoothing: Share of the target spread over all classes, from 0 to 1.
        ignore_index: Class index that drops a position.

    >>> import torch
    >>> CELoss()(torch.zeros(2, 4), None, torch.tensor([3, -100]))  # log 4
    tensor(1.3863)
    """

    name = "ce"
    paper = "1512.00567"
    needs_teacher = False
    needs_target = True

    label_smoothing: float

    def __init__(self, *, label_smoothing: float = 0.0, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self.label_smoothing = _check.fraction(label_smoothing, "CELoss.label_smoothing")

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"] | None,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the cross-entropy of each position, in nats."""
        assert target is not None
        smoothing, ignored = self.label_smoothing, self.ignore_index
        return cross_entropy(student, target, label_smoothing=smoothing, ignore_index=ignored)

    def forward(
        self, student: Tensor, teacher: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Return the mean cross-entropy of the student in nats; the teacher is not read."""
        smoothing, ignored = self.label_smoothing, self.ignore_index
        if target is None:
            raise _check.missing("CELoss", "the target", "for unlabelled data leave CELoss out")
        if target.is_floating_point():
            return mean_of_kept(cross_entropy(student, target, label_smoothing=smoothing))
        # torch's own mean is one kernel, but NaN where every position is dropped, and so is its
        # gradient where a dropped position is NaN though the mean is not.
        if drops_nothing(target, ignored):
            return _over_indices(student, target, smoothing, ignored, "mean")
        total = _over_indices(student, target, smoothing, ignored, "sum")
        return total / is_kept(target, ignored).sum().clamp(min=1)


def _over_probabilities(
    logits: Float[Tensor, "*B C"], target: Float[Tensor, "*B C"], label_smoothing: float
) -> Float[Tensor, "*B"]:
    _check.logits(logits, "cross-entropy")
    if target.shape != logits.shape:
        raise ShapeError(
            f"cross-entropy: expected a float target to hold class probabilities "
            f"{_check.shape(logits)}, found {_check.shape(target)}; class indices must be "
            f"integers (target.long()), one per position: {list(logits.shape[:-1])}"
        )
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
    return -expected(target, F.log_softmax(widen(logits), -1))


def _over_indices(
    logits: Float[Tensor, "*B C"],
    target: Tensor,
    label_smoothing: float,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    if target.shape != logits.shape[:-1] or logits.ndim < 2 or logits.shape[-1] < 2:
        _check.logits(logits, "cross-entropy")
        raise ShapeError(
            f"cross-entropy: expected one class index per position of logits "
            f"{_check.shape(logits)}, so a target {list(logits.shape[:-1])}, found "
            f"{_check.shape(target)}; give class indices, or float probabilities "
            f"{_check.shape(logits)}"
        )
    if target.ndim > 1:
        logits, target = logits.flatten(0, -2), target.flatten()
    if target.dtype != torch.int64:
        target = target.long()
    if reduction != "mean":  # which is asked for where nothing is dropped
        logits = blank_dropped(logits, target != ignore_index)
    try:
        return F.cross_entropy(
            widen(logits),
            target,
            reduction=reduction,
            label_smoothing=label_smoothing,
            ignore_index=ignore_index,
        )
    except IndexError as error:
        raise _out_of_range(logits, target, ignore_index) from error


def _out_of_range(logits: Tensor, target: Tensor, ignore_index: int) -> DataError:
    # Looked for only after torch has refused the batch, so that good batches pay nothing.
    classes = logits.shape[-1]
    wrong = target[(target != ignore_index) & ((target < 0) | (target >= classes))]
    return DataError(
        f"cross-entropy: expected labels from 0 to {classes - 1} for logits with {classes} "
        f"classes, found label {int(wrong[0])} ({wrong.numel()} such in this batch); correct the "
        f"labels, give the model more classes, or set positions to drop to "
        f"ignore_index={ignore_index}"
    )
