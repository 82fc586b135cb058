"""Regression of hidden states (Jiao et al., TinyBERT, Findings of EMNLP 2020, 1909.10351)."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import widen
from tutelage.losses.reduction import mean_of_kept
from tutelage.losses.tokens.base import StateLoss, blank_tokens


def hidden_squared_error(
    student: Float[Tensor, "B N D"],
    teacher: Float[Tensor, "B N D"],
    *,
    kept: Bool[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B N"]:
    r"""Measure the mean squared difference of the hidden states of each token.

    .. math:: \frac{1}{D} \sum_d (h^s_d - h^t_d)^2

    Equations 8 and 9 of the paper; there the student's states pass a learned linear map, which
    all layers share.

    Args:
        student: States of the teacher's width, through a projector where theirs differ.
        teacher: States of the same shape.
        kept: Which tokens count; the others are 0, whatever stands there. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or are not ``[B, N, D]``.

    >>> import torch
    >>> hidden_squared_error(torch.zeros(1, 2, 2), torch.tensor([[[1.0, 3.0], [0.0, 0.0]]]))
    tensor([[5., 0.]])
    """
    check_states(student, teacher, "HiddenMSELoss")
    h_s, h_t = (blank_tokens(widen(states), kept) for states in (student, teacher))
    return F.mse_loss(h_s, h_t, reduction="none").mean(-1)


class HiddenMSELoss(StateLoss):
    """Squared difference of hidden states, mean over tokens. See :func:`hidden_squared_error`.

    The target says which tokens count: an integer ``[B, N]``, ``ignore_index`` at padding. The
    mean runs over all tokens of the batch that count, long sequences weighing more than short
    ones. Without a mask it is :class:`~tutelage.losses.HintLoss`.

    Args:
        ignore_index: What drops a token.

    >>> import torch
    >>> student, teacher = torch.zeros(1, 2, 1), torch.tensor([[[2.0], [torch.nan]]])
    >>> HiddenMSELoss()(student, teacher, torch.tensor([[0, -100]]))
    tensor(4.)
    """

    name = "hidden_mse"
    paper = "1909.10351"
    projector = "linear"

    def compare(
        self,
        student: Float[Tensor, "B N D"],
        teacher: Float[Tensor, "B N D"],
        kept: Bool[Tensor, "B N"] | None,
    ) -> Tensor:
        """Return the mean over tokens, in squared features."""
        return mean_of_kept(hidden_squared_error(student, teacher, kept=kept), kept)


def check_states(student: Tensor, teacher: Tensor, where: str) -> None:
    """Raise unless both are ``[B, N, D]`` of one shape."""
    if student.ndim != 3:
        raise ShapeError(
            f"{where}: expected hidden states [B, N, D], found student {_check.shape(student)} vs "
            f"teacher {_check.shape(teacher)}; tap a layer that keeps its tokens"
        )
    _check.same_shape(student, teacher, where=where, hint='add via="auto" to the Term')
