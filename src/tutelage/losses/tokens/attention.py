"""Attention matrices, raw (TinyBERT, 1909.10351) and as distributions (TextBrewer, 2002.12620)."""

from math import inf

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.losses.base import widen
from tutelage.losses.reduction import expected, mean_of_kept
from tutelage.losses.tokens.base import StateLoss

VARIANTS = ("masked", "textbrewer")


def attention_squared_error(
    student: Float[Tensor, "B h N M"],
    teacher: Float[Tensor, "B h N M"],
    *,
    floor: float | None = None,
    kept: Bool[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B N M"]:
    r"""Measure the squared difference of the attention of each pair of tokens, mean over heads.

    .. math:: \frac{1}{h} \sum_i (A^s_{i} - A^t_{i})^2

    Equation 7 of TinyBERT, which compares scores *before* the softmax.

    Args:
        student: What each query (row) says of each key, in h heads.
        teacher: The same of the teacher: as many heads.
        floor: Scores of at most this count as 0 on both sides. TinyBERT's code takes -100: what a
            mask has lowered by ten thousand is no score.
        kept: Which tokens count, as queries and as keys; pairs with others are 0.

    Raises:
        ShapeError: The shapes differ, or are not ``[B, heads, N, N]``.

    >>> import torch
    >>> student, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([[[[3.0, -1e4]]]])
    >>> attention_squared_error(student, teacher, floor=-100.0)
    tensor([[[9., 0.]]])
    """
    _check_attention(student, teacher, "AttentionMSELoss")
    a_s, a_t = (widen(scores) for scores in (student, teacher))
    if floor is not None:
        a_s, a_t = (scores.masked_fill(scores <= floor, 0.0) for scores in (a_s, a_t))
    if kept is not None:
        dropped = ~_pairs(kept).unsqueeze(1)
        a_s, a_t = (scores.masked_fill(dropped, 0.0) for scores in (a_s, a_t))
    return F.mse_loss(a_s, a_t, reduction="none").mean(1)


def attention_cross_entropy(
    student: Float[Tensor, "B h N M"],
    teacher: Float[Tensor, "B h N M"],
    *,
    variant: str = "masked",
    kept: Bool[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B N"]:
    r"""Measure how badly the student foresees where each token attends: nats, mean over heads.

    .. math:: -\frac{1}{h} \sum_{i} \sum_k p_{ik} \log q_{ik}, \qquad
        p_i = \mathrm{softmax}(A^t_i), \quad q_i = \mathrm{softmax}(A^s_i)

    At equality it is the entropy of the teacher's attention, not 0.

    Args:
        student: Scores of each key (column) for each query (row), before the softmax, in h heads.
        teacher: The same of the teacher: as many heads.
        variant: ``"masked"`` takes the softmax over the keys that count. ``"textbrewer"`` takes
            it over all and drops keys afterwards, which leaves the others with a sum below 1: its
            value is another as soon as scores of padding are not masked by the model itself.
        kept: Which tokens count, as queries and as keys; the value of other queries is 0.

    Raises:
        ShapeError: The shapes differ, or are not ``[B, heads, N, N]``.

    >>> import torch
    >>> attention_cross_entropy(torch.zeros(1, 1, 1, 2), torch.tensor([[[[0.0, 9.0]]]]))
    tensor([[0.6931]])
    """
    _check_attention(student, teacher, "AttentionCELoss")
    a_s, a_t = (widen(scores) for scores in (student, teacher))
    if kept is None:
        return -expected(a_t.softmax(-1), a_s.log_softmax(-1)).mean(1)
    # A sequence without any token keeps all its keys: a softmax over none is NaN.
    keys = (kept | ~kept.any(1, keepdim=True))[:, None, None, :]
    blank = ~kept[:, None, :, None]
    if variant == "masked":
        blank = blank | ~keys
    a_s, a_t = (scores.masked_fill(blank, 0.0) for scores in (a_s, a_t))
    if variant == "masked":
        a_s, a_t = (scores.masked_fill(~keys, -inf) for scores in (a_s, a_t))
    p = a_t.softmax(-1).masked_fill(~keys, 0.0)
    values = -expected(p, a_s.log_softmax(-1)).mean(1)
    return values.masked_fill(~kept, 0.0)


class AttentionMSELoss(StateLoss):
    """Squared difference of attention scores, mean over pairs. See :func:`attention_squared_error`.

    The target says which tokens count: an integer ``[B, N]``, ``ignore_index`` at padding. The
    mean runs over all pairs of the batch of which both count, so that a sequence twice as long
    weighs four times as much. TinyBERT itself masks no padding, but takes ``floor=-100``.

    Args:
        floor: Scores of at most this count as 0; ``None`` takes all as they are.
        ignore_index: What drops a token.

    >>> import torch
    >>> AttentionMSELoss(floor=-100)(torch.zeros(2, 4, 3, 3), torch.full((2, 4, 3, 3), 2.0))
    tensor(4.)
    """

    name = "attention_mse"
    paper = "1909.10351"

    floor: float | None

    def __init__(self, *, floor: float | None = None, ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        if floor is not None and not -inf < floor < inf:
            raise InputError(f"AttentionMSELoss.floor: expected a finite number, found {floor!r}")
        self.floor = floor

    def compare(
        self,
        student: Float[Tensor, "B h N M"],
        teacher: Float[Tensor, "B h N M"],
        kept: Bool[Tensor, "B N"] | None,
    ) -> Tensor:
        """Return the mean over heads and pairs, in squared scores."""
        values = attention_squared_error(student, teacher, floor=self.floor, kept=kept)
        return mean_of_kept(values, None if kept is None else _pairs(kept))


class AttentionCELoss(StateLoss):
    """Cross-entropy of attention, mean over queries. See :func:`attention_cross_entropy`.

    The target says which tokens count: an integer ``[B, N]``, ``ignore_index`` at padding.

    Args:
        variant: ``"masked"`` or ``"textbrewer"``.
        ignore_index: What drops a token.

    >>> import torch
    >>> AttentionCELoss()(torch.zeros(2, 4, 3, 2), torch.randn(2, 4, 3, 2))  # log 2
    tensor(0.6931)
    """

    name = "attention_ce"
    paper = "2002.12620"

    variant: str

    def __init__(self, *, variant: str = "masked", ignore_index: int = -100) -> None:
        super().__init__(ignore_index=ignore_index)
        self.variant = _check.one_of(variant, VARIANTS, "AttentionCELoss.variant")

    def compare(
        self,
        student: Float[Tensor, "B h N M"],
        teacher: Float[Tensor, "B h N M"],
        kept: Bool[Tensor, "B N"] | None,
    ) -> Tensor:
        """Return the mean over heads and queries, in nats."""
        values = attention_cross_entropy(student, teacher, variant=self.variant, kept=kept)
        return mean_of_kept(values, kept)


def _pairs(kept: Bool[Tensor, "B N"]) -> Bool[Tensor, "B N N"]:
    return kept.unsqueeze(2) & kept.unsqueeze(1)


def _check_attention(student: Tensor, teacher: Tensor, where: str) -> None:
    if student.ndim != 4:
        raise ShapeError(
            f"{where}: expected attention scores [B, heads, N, N], found student "
            f"{_check.shape(student)} vs teacher {_check.shape(teacher)}; tap what the softmax of "
            "the attention gets"
        )
    hint = "layers need equal heads; where theirs differ use MiniLMv2Loss"
    _check.same_shape(student, teacher, where=where, hint=hint)
