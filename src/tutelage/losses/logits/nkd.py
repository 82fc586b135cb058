"""Normalised knowledge distillation (Yang et al., ICCV 2023, 2303.13005)."""

from math import inf

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.target import true_class
from tutelage.losses.reduction import blank_dropped, expected


def normalized_cross_entropy(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    target: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    gamma: float = 1.5,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure the true class weighted by the teacher, and the others among themselves.

    .. math:: -p^t_y \log p^s_y - \gamma \, T^2 \sum_{c \ne y} \hat p^t_c \log \hat p^s_c

    in nats per position (the paper adds the cross-entropy with the label): p is the softmax at
    temperature 1, whatever T, and :math:`\hat p` that over the classes but y, at T. These are
    cross-entropies: equal logits do not give 0. With two classes the second sum is 0. Where the
    teacher rules out every other class it counts 0.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape.
        target: The true class y of each position.
        temperature: T above 0 of the second sum; the paper has 1. A 0-dim tensor when it is
            scheduled.
        gamma: Weight of the second sum, at least 0; the paper has 1.5 for convolutional networks
            and 1 for vision transformers.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        InputError: The target holds probabilities: mixed labels have no true class.
        ShapeError: The shapes do not fit, or there are fewer than two classes.
        DataError: A class index is outside ``[0, C)``.

    Undecided models of three classes: a third of log 3, and 1.5 log 2.

    >>> import torch
    >>> normalized_cross_entropy(torch.zeros(1, 3), torch.zeros(1, 3), torch.tensor([0]))
    tensor([1.4059])
    """
    _check.logits(student, "NKDLoss")
    _check.same_shape(student, teacher, where="NKDLoss", hint="both need the same classes")
    is_true = true_class(student, target, kept, "NKDLoss")
    z_s, z_t = (widen(blank_dropped(logits, kept)) for logits in (student, teacher.detach()))
    on_true = expected(z_t.softmax(-1).masked_fill(~is_true, 0), -z_s.log_softmax(-1))
    # The true class leaves as -inf: no finite mask is small enough beside logits of 1e4.
    others_s, others_t = ((z / temperature).masked_fill(is_true, -inf) for z in (z_s, z_t))
    has_no_others = others_t.amax(-1, keepdim=True) == -inf
    p_t = others_t.softmax(-1).masked_fill(has_no_others, 0)
    among_others = expected(p_t, -others_s.log_softmax(-1))
    values = on_true + gamma * temperature**2 * among_others
    return values if kept is None else values.masked_fill(~kept, 0)


class NKDLoss(LogitLoss):
    """Cross-entropy of the true class and of the others. See :func:`normalized_cross_entropy`.

    The mean over positions. The paper adds the cross-entropy with weight 1.

    Args:
        temperature: T above 0 among the other classes, or a schedule from the step to it.
        gamma: Weight among the other classes, at least 0.
        ignore_index: Class index that drops a position.

    >>> NKDLoss()
    NKDLoss(temperature=1.0, gamma=1.5, ignore_index=-100)
    """

    name = "nkd"
    paper = "2303.13005"
    needs_target = True

    temperature: float | Tensor

    def __init__(
        self,
        *,
        temperature: float | Schedule = 1.0,
        gamma: float = 1.5,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("temperature", temperature, _check.positive)
        self.gamma = _check.non_negative(gamma, "NKDLoss.gamma")

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        target: Tensor,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the cross-entropies of each position, in nats."""
        temperature = self._value("temperature")
        return normalized_cross_entropy(
            student, teacher, target, temperature=temperature, gamma=self.gamma, kept=kept
        )
