"""Knowledge distillation by softened logits (Hinton, Vinyals and Dean, 2015, 1503.02531)."""

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.kept import kept_divergence
from tutelage.losses.logits.softened import softened_divergence
from tutelage.losses.reduction import blank_dropped
from tutelage.signals import SparseLogits

VARIANTS = ("paper", "numel", "cross-entropy")


def tempered_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    temperature: float | Tensor = 4.0,
    variant: str = "paper",
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how far the softened student is from the softened teacher, in nats per position.

    .. math:: T^2 \, \mathrm{KL}(p \,\|\, q) = T^2 \sum_c p_c (\log p_c - \log q_c), \qquad
        p = \mathrm{softmax}(z^t / T), \quad q = \mathrm{softmax}(z^s / T)

    :math:`T^2` keeps the gradient's size as T grows (section 2 of the paper). The teacher is a
    constant: no gradient reaches it. A class whose teacher logit is ``-inf`` adds nothing.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape.
        temperature: T above 0; the paper uses 1 to 20. A 0-dim tensor when it is scheduled.
        variant: ``"paper"``; ``"numel"`` is smaller by the factor C, in value and gradient (the
            mean over B * C elements of DeiT and of ``kl_div(reduction="mean")``);
            ``"cross-entropy"`` is :math:`-T^2 \sum_c p_c \log q_c`, larger by :math:`T^2` times
            the entropy of p: the gradient is the paper's, but equal logits do not give 0.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    Equal logits, up to a constant, cost nothing:

    >>> import torch
    >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
    >>> tempered_divergence(logits, logits + 5)
    tensor([0.])
    """
    if student.shape != teacher.shape or student.ndim < 2 or student.shape[-1] < 2:
        _check.logits(student, "KDLoss")
        _check.same_shape(student, teacher, where="KDLoss", hint="both need the same classes")
    values = softened_divergence(
        blank_dropped(student, kept),
        teacher.detach() if teacher.requires_grad else teacher,
        temperature,
        with_entropy=variant != "cross-entropy",
    )
    if variant == "numel":
        values = values / student.shape[-1]
    return values if kept is None else values.masked_fill(~kept, 0.0)


class KDLoss(LogitLoss):
    """Softened divergence from the teacher, mean over positions. See :func:`tempered_divergence`.

    A teacher of whom only the likeliest classes were kept (a cache with ``--top-k``) is compared
    by what these tell of it. See :func:`~tutelage.losses.logits.kept.kept_divergence`.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        variant: ``"paper"``, ``"numel"`` or ``"cross-entropy"``.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> import torch
    >>> KDLoss(temperature=4.0)
    KDLoss(temperature=4.0, variant='paper', ignore_index=-100)
    """

    name = "kd"
    paper = "1503.02531"
    takes_sparse = True

    temperature: float | Tensor
    variant: str

    def __init__(
        self,
        *,
        temperature: float | Schedule = 4.0,
        variant: str = "paper",
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("temperature", temperature, _check.positive)
        self.variant = _check.one_of(variant, VARIANTS, "KDLoss.variant")

    def check_sparse(self, example: SparseLogits) -> None:
        """Raise unless the teacher's totals are known at the temperature, if they are needed."""
        if example.policy != "renormalise":
            example.softened(self._number("temperature"))

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"] | SparseLogits,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position, in nats."""
        if isinstance(teacher, SparseLogits):
            values = kept_divergence(
                student,
                teacher,
                temperature=self._number("temperature"),
                with_entropy=self.variant != "cross-entropy",
                kept=kept,
            )
            return values / student.shape[-1] if self.variant == "numel" else values
        return tempered_divergence(
            student,
            teacher,
            temperature=self._value("temperature"),
            variant=self.variant,
            kept=kept,
        )
