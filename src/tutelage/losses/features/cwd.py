"""Channel-wise distillation for dense prediction (Shu et al., ICCV 2021, 2011.13256)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Loss, Schedule, widen
from tutelage.losses.features.layout import same_maps
from tutelage.losses.features.maps import kept_pixels
from tutelage.losses.reduction import expected, mean_of_kept


def channel_divergence(
    student: Float[Tensor, "B C H W"],
    teacher: Float[Tensor, "B C H W"],
    *,
    temperature: float | Tensor = 1.0,
    kept: Bool[Tensor, "B 1 P"] | None = None,
) -> Float[Tensor, "B"]:
    r"""Measure how far the student's channels look elsewhere than the teacher's, in nats.

    .. math:: \frac{T^2}{C} \sum_c \mathrm{KL}\big(\mathrm{softmax}(t_c / T) \,\|\,
        \mathrm{softmax}(s_c / T)\big)

    with each softmax over the positions of one channel: a constant added to a channel changes
    nothing. Equations 2 and 3, mean over samples and channels as in the released code: the value
    depends on neither of their numbers. It is a sum over positions, of shares that add up to 1.

    Args:
        student: Maps ``[B, C, H, W]``: class scores or features, in the teacher's shape.
        teacher: Maps of the same shape; their gradient is the caller's concern.
        temperature: T above 0; the released code has 4 for class scores, with weight 3.
        kept: Which positions count, ``[B, 1, H * W]``: the others leave the softmax, whatever
            stands there. A sample of which none is kept has the value 0. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are no channels and positions.

    >>> student = torch.zeros(1, 1, 1, 2)
    >>> teacher = torch.tensor([0.9, 0.1]).log().view(1, 1, 1, 2)
    >>> channel_divergence(student, teacher)  # log 2 - entropy
    tensor([0.3681])
    """
    same_maps(student, teacher, "CWDLoss")
    s, t = (widen(feature).flatten(2) / temperature for feature in (student, teacher))
    if kept is not None:
        # The lowest finite number has the probability 0 beside any other; where it stands alone,
        # both sides are uniform, which costs 0.
        s, t = (f.masked_fill(~kept, torch.finfo(f.dtype).min) for f in (s, t))
    log_q, log_p = (f.log_softmax(-1) for f in (s, t))
    divergence = expected(log_p.exp(), log_p - log_q).mean(1)
    return divergence * temperature**2


class CWDLoss(Loss):
    """Divergence between where channels look, mean over samples. See :func:`channel_divergence`.

    Samples of which the target drops every position count nothing.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        ignore_index: Class index that drops a position, where the target has one for each.

    >>> CWDLoss()
    CWDLoss(temperature=1.0, ignore_index=-100)
    """

    name = "cwd"
    paper = "2011.13256"
    compares = "features"
    projector = "conv"

    temperature: float | Tensor
    ignore_index: int

    def __init__(self, *, temperature: float | Schedule = 1.0, ignore_index: int = -100) -> None:
        super().__init__()
        self._hyper("temperature", temperature, _check.positive)
        self.ignore_index = ignore_index

    def forward(
        self, student: Tensor, teacher: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the mean over samples, in nats."""
        teacher = _check.present(teacher, "CWDLoss", "the teacher's maps", "add a teacher")
        kept = kept_pixels(student, target, self.ignore_index)
        values = channel_divergence(
            student, teacher.detach(), temperature=self._value("temperature"), kept=kept
        )
        return mean_of_kept(values, None if kept is None else kept.any(2).squeeze(1))
