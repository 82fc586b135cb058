"""Margins between documents of a ranking model (Hofstätter et al., 2020, 2010.02666)."""

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.reduction import blank_dropped


def margin_squared_error(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure the squared difference of margins, mean over negatives, in squared scores.

    .. math:: \frac{1}{C - 1} \sum_{c=1}^{C-1} \big[ (s_0 - s_c) - (t_0 - t_c) \big]^2

    with the positive document's scores :math:`s_0` of the student and :math:`t_0` of the teacher,
    and those of the negatives behind it (equation 2 of the paper, for one negative). A constant
    on all scores of a query does not count, so that the two models need no common scale of
    relevance; the unit of their scores does.

    Args:
        student: Scores of each query's documents ``[B, C]``, the positive first: say, the dot
            products of sentence embeddings.
        teacher: Scores of the same documents; where only margins are known, 0 and minus these.
        kept: Which positions count; the others are 0. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two documents.

    >>> import torch
    >>> margin_squared_error(torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[9.0, 8.0, 4.0]]))
    tensor([2.5000])
    """
    _check.logits(student, "MarginMSELoss")
    hint = "both need the scores of the same documents"
    _check.same_shape(student, teacher, where="MarginMSELoss", hint=hint)
    s, t = (blank_dropped(widen(scores), kept) for scores in (student, teacher))
    missing = (s[..., :1] - s[..., 1:]) - (t[..., :1] - t[..., 1:])
    return missing.square().mean(-1)


class MarginMSELoss(LogitLoss):
    """Squared difference of margins, mean over queries. See :func:`margin_squared_error`.

    Args:
        ignore_index: Class index that drops a position, where class indices are given.

    >>> import torch
    >>> MarginMSELoss()(torch.zeros(2, 2), torch.tensor([[3.0, 0.0], [8.0, 7.0]]))
    tensor(5.)
    """

    name = "margin_mse"
    paper = "2010.02666"

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"] | None,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the squared difference of each query, in squared scores."""
        assert teacher is not None
        return margin_squared_error(student, teacher, kept=kept)
