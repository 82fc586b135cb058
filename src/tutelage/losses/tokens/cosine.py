"""Directions of hidden states (Sanh et al., DistilBERT, 2019, 1910.01108)."""

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage.losses.base import widen
from tutelage.losses.features.unit import unit
from tutelage.losses.reduction import mean_of_kept
from tutelage.losses.tokens.base import StateLoss, blank_tokens
from tutelage.losses.tokens.hidden import check_states


def cosine_distance(
    student: Float[Tensor, "B N D"],
    teacher: Float[Tensor, "B N D"],
    *,
    kept: Bool[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B N"]:
    r"""Measure how far the hidden states of each token point apart: from 0 to 2.

    .. math:: 1 - \cos(h^s, h^t) = \frac{1}{2} \left\| \frac{h^s}{\|h^s\|} -
        \frac{h^t}{\|h^t\|} \right\|^2

    It is computed in its second form, which keeps its digits where the two are nearly parallel.
    The length of the states does not count. One without any has no direction: it is 1/2 from all
    others.

    Args:
        student: States of the teacher's width, through a projector where theirs differ.
        teacher: States of the same shape.
        kept: Which tokens count; the others are 0, whatever stands there. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or are not ``[B, N, D]``.

    >>> import torch
    >>> student = torch.tensor([[[2.0, 0.0], [1.0, 0.0]]])
    >>> cosine_distance(student, torch.tensor([[[0.0, 5.0], [-3.0, 0.0]]]))
    tensor([[1., 2.]])
    """
    check_states(student, teacher, "HiddenCosineLoss")
    h_s, h_t = (unit(blank_tokens(widen(states), kept)) for states in (student, teacher))
    return (h_s - h_t).square().sum(-1) / 2


class HiddenCosineLoss(StateLoss):
    """One minus the cosine of hidden states, mean over tokens. See :func:`cosine_distance`.

    The target says which tokens count: an integer ``[B, N]``, ``ignore_index`` at padding. The
    paper adds it with weight 1 to the losses of the logits, for the last layer.

    Args:
        ignore_index: What drops a token.

    >>> import torch
    >>> HiddenCosineLoss()(torch.ones(2, 3, 4), -torch.ones(2, 3, 4))
    tensor(2.)
    """

    name = "hidden_cosine"
    paper = "1910.01108"

    def compare(
        self,
        student: Float[Tensor, "B N D"],
        teacher: Float[Tensor, "B N D"],
        kept: Bool[Tensor, "B N"] | None,
    ) -> Tensor:
        """Return the mean over tokens, without unit."""
        return mean_of_kept(cosine_distance(student, teacher, kept=kept), kept)
