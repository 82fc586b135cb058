"""The order of the teacher's top k (Burges et al., ICML 2005; Herbrich et al., 1999)."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import InputError
from tutelage.losses.base import widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.kept import at_ids, check_sparse
from tutelage.losses.reduction import blank_dropped
from tutelage.signals import SparseLogits


def logistic_ranking(
    student: Float[Tensor, "*B V"],
    teacher: SparseLogits,
    *,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how far the student is from the teacher's order of its k classes, in nats.

    .. math:: \frac{1}{|P|} \sum_{(i, j) \in P} \log(1 + e^{-(z^s_i - z^s_j)}), \qquad
        P = \{(i, j) : p_i > p_j\}

    RankNet's cost for pairs that the teacher is sure of: the size of its gap does not count. It
    is never 0. Where all k probabilities are equal there is no pair, and the value is 0.

    Args:
        student: Logits ``[..., V]``.
        teacher: The teacher's k classes of each position.
        kept: Which positions count; the others are 0. ``None`` for all.

    Raises:
        ShapeError: The teacher has no k classes for each position.

    >>> import torch
    >>> log_probs = torch.tensor([[0.7, 0.2]]).log()
    >>> teacher = SparseLogits(torch.tensor([[2, 0]]), log_probs, num_classes=3)
    >>> logistic_ranking(torch.zeros(1, 3), teacher)  # log 2
    tensor([0.6931])
    """
    check_sparse(student, teacher, "LogisticRankingLoss")
    z = at_ids(blank_dropped(student, kept), teacher.ids)
    return _over_pairs(F.softplus(z.unsqueeze(-2) - z.unsqueeze(-1)), teacher, kept)


def hinge_ranking(
    student: Float[Tensor, "*B V"],
    teacher: SparseLogits,
    *,
    margin: float | None = None,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure by how much the student's gaps within the teacher's k classes are too small.

    .. math:: \frac{1}{|P|} \sum_{(i, j) \in P} \max(0,\ m_{ij} - (q_i - q_j)), \qquad
        P = \{(i, j) : p_i > p_j\}

    with probabilities over all V classes; in units of probability. Where all k probabilities are
    equal there is no pair, and the value is 0.

    Args:
        student: Logits ``[..., V]``, softened by the temperature of the teacher.
        teacher: The teacher's k classes of each position.
        margin: :math:`m_{ij}` of at least 0; ``None`` for the teacher's own gap
            :math:`p_i - p_j`, at which the teacher itself costs 0.
        kept: Which positions count; the others are 0. ``None`` for all.

    Raises:
        ShapeError: The teacher has no k classes for each position.

    >>> import torch
    >>> log_probs = torch.tensor([[0.75, 0.25]]).log()
    >>> teacher = SparseLogits(torch.tensor([[2, 0]]), log_probs, num_classes=3)
    >>> hinge_ranking(torch.zeros(1, 3), teacher)
    tensor([0.5000])
    """
    check_sparse(student, teacher, "HingeRankingLoss")
    z = widen(blank_dropped(student, kept)) / teacher.temperature
    q = (at_ids(z, teacher.ids) - z.logsumexp(-1, keepdim=True)).exp()
    wanted: float | Tensor
    if margin is None:
        p = blank_dropped(widen(teacher.log_probs.detach()), kept).exp()
        wanted = p.unsqueeze(-1) - p.unsqueeze(-2)
    else:
        wanted = margin
    return _over_pairs(F.relu(wanted - (q.unsqueeze(-1) - q.unsqueeze(-2))), teacher, kept)


class _RankingLoss(LogitLoss):
    """What both have in common: the k of a dense teacher."""

    takes_sparse = True

    k: int

    def __init__(self, *, k: int = 10, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        if not isinstance(k, int) or isinstance(k, bool) or k < 2:
            raise InputError(
                f"{type(self).__name__}.k: expected a whole number of at least 2, found {k!r}"
            )
        self.k = k

    def _sparse(self, student: Tensor, teacher: Tensor | SparseLogits) -> SparseLogits:
        if isinstance(teacher, SparseLogits):
            return teacher
        who = type(self).__name__
        _check.logits(student, who)
        _check.same_shape(student, teacher, where=who, hint="both need the same classes")
        return SparseLogits.from_logits(teacher, k=self.k)


class LogisticRankingLoss(_RankingLoss):
    """Logistic cost of pairs in the wrong order, mean over positions. See :func:`logistic_ranking`.

    DistillKit's mean runs over the pairs of all positions; it differs only where the teacher has
    ties.

    Args:
        k: How many classes are kept of a dense teacher, at least 2; memory grows with its square.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> import torch
    >>> LogisticRankingLoss()(torch.zeros(2, 4), torch.randn(2, 4))  # log 2
    tensor(0.6931)
    """

    name = "logistic_ranking"
    paper = "Burges et al., ICML 2005"

    def values(
        self,
        student: Float[Tensor, "*B V"],
        teacher: Any,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the cost of each position, in nats."""
        return logistic_ranking(student, self._sparse(student, teacher), kept=kept)


class HingeRankingLoss(_RankingLoss):
    """Gaps of probability that are too small, mean over positions. See :func:`hinge_ranking`.

    DistillKit's mean runs over the pairs of all positions; it differs only where the teacher has
    ties.

    Args:
        margin: The gap to reach, at least 0; ``None`` for the teacher's own.
        k: How many classes are kept of a dense teacher, at least 2; memory grows with its square.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> import torch
    >>> HingeRankingLoss(margin=0.5)(torch.zeros(2, 4), torch.randn(2, 4))
    tensor(0.5000)
    """

    name = "hinge_ranking"
    paper = "Herbrich et al., 1999"

    margin: float | None

    def __init__(
        self, *, margin: float | None = None, k: int = 10, ignore_index: int = -100
    ) -> None:
        super().__init__(k=k, ignore_index=ignore_index)
        self.margin = (
            None if margin is None else _check.non_negative(margin, "HingeRankingLoss.margin")
        )

    def values(
        self,
        student: Float[Tensor, "*B V"],
        teacher: Any,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the missing gap of each position, in units of probability."""
        sparse = self._sparse(student, teacher)
        return hinge_ranking(student, sparse, margin=self.margin, kept=kept)


def _over_pairs(
    costs: Float[Tensor, "*B k k"], teacher: SparseLogits, kept: Bool[Tensor, "*B"] | None
) -> Float[Tensor, "*B"]:
    """Return the mean cost of the pairs (row, column) of which the row is likelier."""
    log_p = blank_dropped(widen(teacher.log_probs.detach()), kept)
    pairs = log_p.unsqueeze(-1) > log_p.unsqueeze(-2)
    values = costs.masked_fill(~pairs, 0.0).sum((-1, -2)) / pairs.sum((-1, -2)).clamp(min=1)
    # A teacher that is not a number has no order: it must not pass for one that is undecided.
    return values.masked_fill(log_p.isnan().any(-1), torch.nan)
