"""One-for-all distillation between unlike networks (Hao et al., NeurIPS 2023, 2310.19444)."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.target import true_class
from tutelage.losses.reduction import blank_dropped, expected


def enhanced_cross_entropy(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    target: Int[Tensor, "*B"],
    *,
    gamma: float | Tensor = 1.5,
    temperature: float | Tensor = 1.0,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure cross-entropy with a teacher whose true class is enhanced, in nats per position.

    .. math:: -\sum_c \bigl[ (p_c + 1_{c = y})^\gamma - 1_{c = y} \bigr] \log q_c, \qquad
        p = \mathrm{softmax}(z^t / T), \quad q = \mathrm{softmax}(z^s / T)

    With :math:`\gamma = 1` it is the cross-entropy with the teacher. Above 1 the true class gains
    weight as the teacher is sure of it, and what it says of the others fades as
    :math:`p_c^\gamma`. As in the authors' code there is no factor :math:`T^2`: the gradient shrinks
    with 1/T. The weights do not add up to 1, so equal logits neither cost 0 nor ask for no change.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape.
        target: The true classes, ``[B]`` or ``[B, N]``.
        gamma: The exponent, above 0 (the authors: 1 to 1.5).
        temperature: T above 0 (the authors: 1).
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.
        InputError: The target holds probabilities.

    A teacher with 1/2 for the true class of two, gamma 2: (9/4 - 1) log 2 + 1/4 log 2:

    >>> import torch
    >>> undecided = torch.zeros(1, 2)
    >>> enhanced_cross_entropy(undecided, undecided, torch.tensor([0]), gamma=2.0)
    tensor([1.0397])
    """
    _check.logits(student, "OFALoss")
    _check.same_shape(student, teacher, where="OFALoss", hint="both need the same classes")
    is_true = true_class(student, target, kept, "OFALoss").to(widen(student).dtype)
    z_s, z_t = (blank_dropped(widen(logits), kept) for logits in (student, teacher.detach()))
    p = (z_t / temperature).softmax(-1)
    log_q = (z_s / temperature).log_softmax(-1)
    weight = (p + is_true) ** gamma - is_true
    values = -expected(weight, log_q)
    return values if kept is None else values.masked_fill(~kept, 0.0)


class OFALoss(LogitLoss):
    """Cross-entropy with an enhanced true class. See :func:`enhanced_cross_entropy`.

    The paper adds it at the logits and at an exit of each of the student's four stages:
    ``Term(OFALoss(), at=("stage2", None), via="paper")`` brings a stage to the classes with an
    :class:`~tutelage.projectors.ExitHead` (the authors' exits are deeper). A mean over positions,
    whatever the batch; it grows with C about as log C.

    Args:
        gamma: The exponent, above 0, or a schedule from the optimiser step to it. The authors take
            1.5 on ImageNet, and their ``eps`` is this.
        temperature: T above 0, or a schedule.
        ignore_index: Class index that drops a position.

    Raises:
        InputError: ``gamma`` or ``temperature`` is not above 0.

    >>> OFALoss()
    OFALoss(gamma=1.5, temperature=1.0, ignore_index=-100)
    """

    name = "ofa"
    paper = "2310.19444"
    needs_target = True
    projector = "exit_head"

    gamma: float | Tensor
    temperature: float | Tensor

    def __init__(
        self,
        *,
        gamma: float | Schedule = 1.5,
        temperature: float | Schedule = 1.0,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("gamma", gamma, _check.positive)
        self._hyper("temperature", temperature, _check.positive)

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"] | None,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the loss of each position, in nats."""
        assert teacher is not None
        assert target is not None
        return enhanced_cross_entropy(
            student,
            teacher,
            target,
            gamma=self._value("gamma"),
            temperature=self._value("temperature"),
            kept=kept,
        )
