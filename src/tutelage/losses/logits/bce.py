"""Binary cross-entropy with labels, as in "ResNet strikes back" (Wightman et al., 2110.00476)."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.target import true_class
from tutelage.losses.reduction import blank_dropped

VARIANTS = ("mean", "sum")


def binary_cross_entropy(
    logits: Float[Tensor, "*B C"],
    target: Tensor,
    *,
    label_smoothing: float = 0.0,
    threshold: float | None = None,
    variant: str = "mean",
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how badly each class by itself is predicted, in nats per position.

    .. math:: -\frac{1}{C} \sum_c \big[ y_c \log \sigma(z_c)
        + (1 - y_c) \log (1 - \sigma(z_c)) \big]

    Several classes, or none, may be right: the classes do not compete. With one right class the
    mean over classes shrinks as their number grows, to about the share of the wrong ones.

    Args:
        logits: ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        target: Class indices, one per position, or float targets of the logits' shape, each from 0
            to 1: mixed labels (mixup, cutmix) or several classes per position. That range is not
            checked.
        label_smoothing: :math:`\varepsilon` from 0 to 1: y becomes
            :math:`(1 - \varepsilon) y + \varepsilon / C`.
        threshold: Where given, from 0 to 1, every smoothed target above it counts as 1 and every
            other as 0: with mixup, both classes of an image are then wholly right, as in
            the paper.
        variant: ``"mean"`` over the classes; ``"sum"`` is larger by the factor C.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The target fits neither form, or there are fewer than two classes.
        DataError: A class index is outside ``[0, C)``. CUDA and compiled code report it in their
            own way.

    Undecided logits cost log 2 whatever the label:

    >>> import torch
    >>> binary_cross_entropy(torch.zeros(1, 4), torch.tensor([3]))
    tensor([0.6931])
    """
    _check.logits(logits, "BCELoss")
    y = _targets(logits, target, kept)
    if label_smoothing:
        y = y * (1 - label_smoothing) + label_smoothing / logits.shape[-1]
    if threshold is not None:
        y = (y > threshold).to(y.dtype)
    return binary_values(logits, y, variant, kept)


class BCELoss(LogitLoss):
    """Binary cross-entropy with the labels, mean over positions. See :func:`binary_cross_entropy`.

    Args:
        label_smoothing: Share of the target spread over all classes, from 0 to 1.
        threshold: Above which a target counts as 1, and else as 0; ``None`` to keep soft targets.
        variant: ``"mean"`` or ``"sum"`` over the classes.
        ignore_index: Class index that drops a position. Float targets drop nothing.

    >>> BCELoss(label_smoothing=0.1)
    BCELoss(label_smoothing=0.1, threshold=None, variant='mean', ignore_index=-100)
    """

    name = "bce"
    paper = "2110.00476"
    needs_teacher = False
    needs_target = True

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        threshold: float | None = None,
        variant: str = "mean",
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self.label_smoothing = _check.fraction(label_smoothing, "BCELoss.label_smoothing")
        if threshold is not None:
            threshold = _check.fraction(threshold, "BCELoss.threshold")
        self.threshold = threshold
        self.variant = _check.one_of(variant, VARIANTS, "BCELoss.variant")

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"] | None,
        target: Tensor,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the binary cross-entropy of each position, in nats."""
        return binary_cross_entropy(
            student,
            target,
            label_smoothing=self.label_smoothing,
            threshold=self.threshold,
            variant=self.variant,
            kept=kept,
        )


def binary_values(
    logits: Float[Tensor, "*B C"],
    probabilities: Float[Tensor, "*B C"],
    variant: str,
    kept: Bool[Tensor, "*B"] | None,
) -> Float[Tensor, "*B"]:
    """Return the binary cross-entropy with probabilities, over the classes of each position."""
    z, y = widen(blank_dropped(logits, kept)), blank_dropped(probabilities, kept)
    by_class = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    values = by_class.mean(-1) if variant == "mean" else by_class.sum(-1)
    return values if kept is None else values.masked_fill(~kept, 0)


def _targets(
    logits: Float[Tensor, "*B C"], target: Tensor, kept: Bool[Tensor, "*B"] | None
) -> Float[Tensor, "*B C"]:
    if not target.is_floating_point():
        return true_class(logits, target, kept, "BCELoss").to(widen(logits).dtype)
    if target.shape != logits.shape:
        raise ShapeError(
            f"BCELoss: expected float targets {_check.shape(logits)}, one for each class, found "
            f"{_check.shape(target)}; give those, or integer class indices, one per position: "
            f"{list(logits.shape[:-1])}"
        )
    return widen(target).to(widen(logits).dtype)
