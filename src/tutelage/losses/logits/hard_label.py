"""Hard-label distillation: the teacher's decision as label (Touvron et al., DeiT, 2012.12877)."""

from math import inf, nan

from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.kept import check_sparse
from tutelage.losses.reduction import blank_dropped
from tutelage.signals import SparseLogits


def hard_label_cross_entropy(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"] | SparseLogits,
    *,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how badly the student predicts the teacher's decision, in nats per position.

    .. math:: -\log \mathrm{softmax}(z^s)_{\hat y}, \qquad \hat y = \arg\max_c z^t_c

    This is the hard distillation of the paper, equation 3, without its half. The teacher's
    errors become labels. Where several classes share the maximum, one of them is taken. A row that
    holds NaN, or only ``-inf``, decides nothing: its value is NaN.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape, or the likeliest classes alone, which decide the same.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    An undecided student pays log C:

    >>> import torch
    >>> hard_label_cross_entropy(torch.zeros(1, 2), torch.tensor([[0.0, 9.0]]))
    tensor([0.6931])
    """
    highest, decision = _decision(student, teacher)
    is_undecided = ~(highest > -inf)
    if kept is not None:
        decision, is_undecided = decision.masked_fill(~kept, -100), is_undecided & kept
    z = widen(blank_dropped(student, kept)).flatten(0, -2)
    values = F.cross_entropy(z, decision.flatten(), reduction="none", ignore_index=-100)
    return values.view(decision.shape).masked_fill(is_undecided, nan)


class HardLabelLoss(LogitLoss):
    """Cross-entropy with the teacher's decision. See :func:`hard_label_cross_entropy`.

    Args:
        ignore_index: Class index that drops a position, where class indices are given.

    >>> import torch
    >>> HardLabelLoss()(torch.zeros(2, 4), torch.eye(2, 4))  # log 4
    tensor(1.3863)
    """

    name = "hard_label"
    paper = "2012.12877"
    takes_sparse = True

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"] | SparseLogits | None,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the cross-entropy at each position, in nats."""
        assert teacher is not None
        return hard_label_cross_entropy(student, teacher, kept=kept)


def _decision(
    student: Float[Tensor, "*B C"], teacher: Float[Tensor, "*B C"] | SparseLogits
) -> tuple[Float[Tensor, "*B"], Int[Tensor, "*B"]]:
    """Return the highest logit of each position, and its class."""
    if isinstance(teacher, SparseLogits):
        check_sparse(student, teacher, "HardLabelLoss")
        highest, place = teacher.log_probs.max(-1, keepdim=True)
        return highest.squeeze(-1), teacher.ids.long().gather(-1, place).squeeze(-1)
    _check.logits(student, "HardLabelLoss")
    _check.same_shape(student, teacher, where="HardLabelLoss", hint="both need the same classes")
    highest, decision = teacher.detach().max(-1)
    return highest, decision
