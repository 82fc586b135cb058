"""Decoupled knowledge distillation (Zhao et al., CVPR 2022, 2203.08679)."""

from math import inf, log

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.lskd import standardized
from tutelage.losses.logits.target import class_indices, of_class
from tutelage.losses.reduction import blank_dropped, weighted


def decoupled_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    target: Tensor,
    *,
    temperature: float | Tensor = 4.0,
    alpha: float = 1.0,
    beta: float = 8.0,
    floor: float = 0.0,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure KD of the true class and KD among the others, each with its own weight.

    .. math:: T^2 \big[ \alpha \, \mathrm{KL}(b^t \,\|\, b^s)
        + \beta \, \mathrm{KL}(\hat p^t \,\|\, \hat p^s) \big], \qquad
        b = (p_y, 1 - p_y), \quad \hat p_c = \frac{p_c}{1 - p_y} \; (c \ne y)

    in nats per position, with p the softmax of the logits over T (equation 7). Plain KD is the
    same with :math:`\alpha = 1` and the varying weight :math:`\beta = 1 - p^t_y`, which mutes
    what a confident teacher knows of the other classes. With two classes there is one other
    class, the second divergence is 0 and the value is :math:`\alpha` times plain KD. Where the
    teacher rules out every other class, the second divergence counts 0.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape.
        target: The true class y of each position.
        temperature: T above 0: the paper has 4 on CIFAR and 1 on ImageNet. A 0-dim tensor when it
            is scheduled.
        alpha: Weight of the true class against the rest, at least 0; the paper keeps 1.
        beta: Weight among the other classes, at least 0; the paper has 1 to 8 on CIFAR, by pair,
            and 0.5 on ImageNet.
        floor: The student's binary probabilities are taken to be at least this, from 0 to 1. The
            paper has none. At 1e-7 this is a port whose loss stops growing, and teaching, where
            the student is surest; the released code has an infinite value there.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        InputError: The target holds probabilities: mixed labels have no true class.
        ShapeError: The shapes do not fit, or there are fewer than two classes.
        DataError: A class index is outside ``[0, C)``.

    With two classes it is KD: here ``3 log 3 - 4 log 2``.

    >>> import torch
    >>> teacher = torch.tensor([[1.0, 9.0]]).log()
    >>> decoupled_divergence(torch.zeros(1, 2), teacher, torch.tensor([1]), temperature=2.0)
    tensor([0.5232])
    """
    _check.logits(student, "DKDLoss")
    _check.same_shape(student, teacher, where="DKDLoss", hint="both need the same classes")
    y = class_indices(student, target, kept, "DKDLoss")
    z_s = widen(blank_dropped(student, kept)) / temperature
    z_t = widen(blank_dropped(teacher.detach(), kept)) / temperature
    log_b_s, log_p_s = _decoupled(z_s, y)
    log_b_t, log_p_t = _decoupled(z_t, y)
    if floor:
        log_b_s = log_b_s.clamp_min(log(floor))
    on_true = weighted(log_b_t.exp(), log_b_t - log_b_s).sum(-1)
    has_no_others = log_b_t[..., 1:] == -inf
    p_t = log_p_t.exp().masked_fill_(has_no_others, 0)
    among_others = weighted(p_t, log_p_t - log_p_s).sum(-1)
    values = temperature**2 * (alpha * on_true + beta * among_others)
    return values if kept is None else values.masked_fill(~kept, 0)


class DKDLoss(LogitLoss):
    """KD of the true class and among the others, apart. See :func:`decoupled_divergence`.

    The mean over positions. The paper adds the cross-entropy with weight 1 and, on CIFAR, lets the
    weight of this loss grow linearly over the first 20 epochs.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        alpha: Weight of the true class against the rest, at least 0.
        beta: Weight among the other classes, at least 0.
        floor: Smallest binary probability of the student, from 0 to 1.
        standardize: Whether to standardise the logits first (Sun et al., 2403.01427), as LSKDLoss
            does before KD; there with T = 2.
        ignore_index: Class index that drops a position.

    >>> DKDLoss(beta=2.0)  # doctest: +NORMALIZE_WHITESPACE
    DKDLoss(temperature=4.0, alpha=1.0, beta=2.0, floor=0.0, standardize=False,
            ignore_index=-100)
    """

    name = "dkd"
    paper = "2203.08679"
    needs_target = True

    temperature: float | Tensor

    def __init__(
        self,
        *,
        temperature: float | Schedule = 4.0,
        alpha: float = 1.0,
        beta: float = 8.0,
        floor: float = 0.0,
        standardize: bool = False,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("temperature", temperature, _check.positive)
        self.alpha = _check.non_negative(alpha, "DKDLoss.alpha")
        self.beta = _check.non_negative(beta, "DKDLoss.beta")
        self.floor = _check.fraction(floor, "DKDLoss.floor")
        self.standardize = standardize

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        target: Tensor,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position, in nats."""
        if self.standardize:
            student, teacher = (
                standardized(blank_dropped(logits, kept)) for logits in (student, teacher)
            )
        return decoupled_divergence(
            student,
            teacher,
            target,
            temperature=self._value("temperature"),
            alpha=self.alpha,
            beta=self.beta,
            floor=self.floor,
            kept=kept,
        )


def _decoupled(
    z: Float[Tensor, "*B C"], y: Int[Tensor, "*B"]
) -> tuple[Float[Tensor, "*B 2"], Float[Tensor, "*B C"]]:
    """Return the logs of b and of p-hat, which is -inf at the true class."""
    z_y = of_class(z, y)
    # No finite mask is small enough beside logits of 1e4.
    others = z.scatter(-1, y.unsqueeze(-1), -inf)
    total = others.logsumexp(-1)
    # A softmax over both keeps log(1 - p_y) free of the rounding of 1 - p_y.
    return torch.stack([z_y, total], -1).log_softmax(-1), others - total.unsqueeze(-1)
