"""Teacher-free knowledge distillation from a hand-made teacher (Yuan et al., 1909.11723)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.kd import tempered_divergence
from tutelage.losses.logits.target import true_class


def virtual_teacher_divergence(
    student: Float[Tensor, "*B C"],
    target: Tensor,
    *,
    temperature: float | Tensor = 20.0,
    correct: float = 0.99,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure KD from a teacher that is nearly always right and knows nothing else, in nats.

    .. math:: T^2 \, \mathrm{KL}(\mathrm{softmax}(\log u / T) \,\|\, \mathrm{softmax}(z^s / T)),
        \qquad u_c = \begin{cases} a & c = y \\ (1 - a) / (C - 1) & c \ne y \end{cases}

    This is Tf-KD_reg, times the :math:`T^2` of KD, which the paper leaves out. The released code
    differs in three ways that are taken for mistakes here: it softens u as if it were logits,
    after which the true class has 1.05 times the probability of any other; it does not soften the
    student; and it also divides by the number of classes. At T = 1 the gradient is that of a
    cross-entropy with smoothed labels. Since the teacher holds nothing but the label, this is a
    control: what KD gains beyond it, it gains from the teacher.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        target: The true class y of each position.
        temperature: T above 0; the paper has 20. A 0-dim tensor when it is scheduled.
        correct: a, the probability of the true class, from 0 to 1; the paper has 0.99.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        InputError: The target holds probabilities: mixed labels have no true class.
        ShapeError: The target does not fit, or there are fewer than two classes.
        DataError: A class index is outside ``[0, C)``.

    The student that is this teacher pays nothing:

    >>> import torch
    >>> u = torch.tensor([[0.8, 0.1, 0.1]])
    >>> virtual_teacher_divergence(u.log(), torch.tensor([0]), correct=0.8).abs() < 1e-4
    tensor([True])
    """
    _check.logits(student, "TeacherFreeKDLoss")
    is_true = true_class(student, target, kept, "TeacherFreeKDLoss")
    rest = (1 - correct) / (student.shape[-1] - 1)
    u = torch.full_like(widen(student), rest).masked_fill(is_true, correct)
    return tempered_divergence(student, u.log(), temperature=temperature, kept=kept)


class TeacherFreeKDLoss(LogitLoss):
    """KD from a hand-made teacher, mean over positions. See :func:`virtual_teacher_divergence`.

    The paper weighs it with 0.1, without our :math:`T^2`, beside a cross-entropy of 0.9.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        correct: Probability of the true class, from 0 to 1.
        ignore_index: Class index that drops a position.

    >>> TeacherFreeKDLoss()
    TeacherFreeKDLoss(temperature=20.0, correct=0.99, ignore_index=-100)
    """

    name = "teacher_free_kd"
    paper = "1909.11723"
    needs_teacher = False
    needs_target = True

    temperature: float | Tensor

    def __init__(
        self,
        *,
        temperature: float | Schedule = 20.0,
        correct: float = 0.99,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("temperature", temperature, _check.positive)
        self.correct = _check.fraction(correct, "TeacherFreeKDLoss.correct")

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"] | None,
        target: Tensor,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position, in nats."""
        temperature = self._value("temperature")
        return virtual_teacher_divergence(
            student, target, temperature=temperature, correct=self.correct, kept=kept
        )
