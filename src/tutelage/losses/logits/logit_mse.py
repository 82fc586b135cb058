"""Regression of the teacher's logits (Ba and Caruana, 2014, 1312.6184; Kim et al., 2105.08919)."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.reduction import blank_dropped


def logit_squared_error(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    centred: bool = False,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure the mean squared difference of the logits at each position, in squared logits.

    .. math:: \frac{1}{C} \sum_c (z^s_c - z^t_c)^2

    Ba and Caruana write the sum over classes with a factor 1/2: this is 2 / C of theirs. The
    centred form takes each row's mean off both sides first: a softmax does not see that mean, and
    this is twice the limit of :math:`T^2 \mathrm{KL}` as T grows (Kim et al., equation 5).
    Logits of ``-inf`` have no squared difference: mask with a large finite number, or use KD.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape.
        centred: Whether to compare the logits without their row means.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    >>> import torch
    >>> student, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]])
    >>> logit_squared_error(student, teacher)
    tensor([4.])
    >>> logit_squared_error(student, teacher, centred=True)
    tensor([0.])
    """
    _check.logits(student, "LogitMSELoss")
    _check.same_shape(student, teacher, where="LogitMSELoss", hint="both need the same classes")
    z_s, z_t = (blank_dropped(widen(logits), kept) for logits in (student, teacher))
    if centred:
        z_s, z_t = z_s - z_s.mean(-1, keepdim=True), z_t - z_t.mean(-1, keepdim=True)
    return F.mse_loss(z_s, z_t, reduction="none").mean(-1)


class LogitMSELoss(LogitLoss):
    """Mean squared difference of the logits. See :func:`logit_squared_error`.

    Args:
        centred: Whether to compare the logits without their row means.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> import torch
    >>> LogitMSELoss()(torch.zeros(2, 4), 3 * torch.eye(2, 4))  # one of four classes is off by 3
    tensor(2.2500)
    """

    name = "logit_mse"
    paper = "1312.6184"

    centred: bool

    def __init__(self, *, centred: bool = False, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self.centred = centred

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"] | None,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the squared difference at each position, in squared logits."""
        assert teacher is not None
        return logit_squared_error(student, teacher, centred=self.centred, kept=kept)
