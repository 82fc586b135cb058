"""Pearson correlation for dense prediction (Cao et al., PKD, NeurIPS 2022, 2207.02039)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Loss, widen
from tutelage.losses.features.layout import same_maps
from tutelage.losses.features.maps import kept_pixels
from tutelage.losses.gather import gathered

EPS = 1e-6  # of the released code, added to the standard deviation


def pearson_distance(
    student: Float[Tensor, "B C H W"],
    teacher: Float[Tensor, "B C H W"],
    *,
    kept: Bool[Tensor, "B 1 P"] | None = None,
) -> Float[Tensor, ""]:
    r"""Measure how little the channels of student and teacher rise and fall together.

    .. math:: \frac{1}{2 C n} \sum_{c,i} (\hat s_{ci} - \hat t_{ci})^2
        = \frac{n - 1}{n} \Big(1 - \frac{1}{C} \sum_c r(s_c, t_c)\Big), \qquad
        \hat f_c = \frac{f_c - \mu_c}{\sigma_c + 10^{-6}}

    with mean and (unbiased) standard deviation of each channel over the n positions of the whole
    batch, and Pearson's r. From 0 to 2, whatever the scale and the mean of each channel.

    Args:
        student: Maps ``[B, C, H, W]``, in the teacher's shape.
        teacher: Maps of the same shape.
        kept: Which positions count, ``[B, 1, H * W]``: the others are not looked at. ``None`` for
            all.

    Raises:
        ShapeError: The shapes differ.

    >>> feature = torch.arange(4.0).view(1, 1, 2, 2)
    >>> pearson_distance(feature, feature + 4), pearson_distance(feature, -feature)
    (tensor(0.), tensor(1.5000))
    """
    same_maps(student, teacher, "PKDLoss")
    flat = None if kept is None else kept.flatten()
    s, t = (_standardised(widen(f).movedim(1, 0).flatten(1), flat) for f in (student, teacher))
    squares = (s - t).square()
    if flat is None:
        return squares.mean() / 2
    return squares.sum() / (2 * len(s) * flat.sum().clamp(min=1))


class PKDLoss(Loss):
    """One minus Pearson's correlation of the channels. See :func:`pearson_distance`.

    The statistics are those of the batch, so that samples count for each other.

    Args:
        gather: Whether to take the statistics over the maps of all processes, so that the value
            and, under DDP, the gradient are those of one process with the whole batch. All
            processes then hold all maps.
        ignore_index: Class index that drops a position, where the target has one for each.

    >>> PKDLoss()
    PKDLoss(gather=True, ignore_index=-100)
    """

    name = "pkd"
    paper = "2207.02039"
    compares = "features"
    compares_samples = True
    projector = "conv"

    gather: bool
    ignore_index: int

    def __init__(self, *, gather: bool = True, ignore_index: int = -100) -> None:
        super().__init__()
        self.gather = gather
        self.ignore_index = ignore_index

    def forward(
        self, student: Tensor, teacher: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the loss of the batch, without unit."""
        teacher = _check.present(teacher, "PKDLoss", "the teacher's maps", "add a teacher").detach()
        same_maps(student, teacher, "PKDLoss")
        if self.gather:
            # Of all processes or of none, else they would wait for each other for ever.
            if target is not None and target.shape == student[:, 0].shape:
                target = gathered(target)
            student, teacher = gathered(student), gathered(teacher)
        if not student.numel():
            return widen(student).sum()
        kept = kept_pixels(student, target, self.ignore_index)
        return pearson_distance(student, teacher, kept=kept)


def _standardised(
    feature: Float[Tensor, "C N"], kept: Bool[Tensor, "N"] | None
) -> Float[Tensor, "C N"]:
    if kept is None:
        count: int | Tensor = feature.shape[1]
        centred = feature - feature.mean(1, keepdim=True)
        degrees: int | Tensor = max(count - 1, 1)
    else:
        count = kept.sum().clamp(min=1)
        feature = feature.masked_fill(~kept, 0.0)
        centred = (feature - feature.sum(1, keepdim=True) / count).masked_fill(~kept, 0.0)
        degrees = (count - 1).clamp(min=1)
    # vector_norm has the gradient 0 at a constant channel, where the root of a variance has NaN.
    length: Tensor = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    return centred / (length / degrees**0.5 + EPS)
