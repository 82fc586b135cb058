"""Weighted soft labels (Zhou et al., ICLR 2021, 2102.00650)."""

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.target import class_indices, of_class
from tutelage.losses.reduction import blank_dropped, expected

EPS = 1e-7


def weighted_soft_labels(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    target: Tensor,
    *,
    temperature: float | Tensor = 2.0,
    eps: float = EPS,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure the softened cross-entropy with the teacher, less where it helps little, in nats.

    .. math:: -w \, T^2 \sum_c p_c \log q_c, \qquad
        w = 1 - \exp\Big( -\frac{L^s}{L^t + \varepsilon} \Big)

    with p and q the softmax of the teacher's and the student's logits over T, and L the
    cross-entropy of each with the label at temperature 1. The weight w, from 0 to 1
    and a constant for the gradient, is small where the student already beats the teacher: there
    soft labels add more variance than they take bias. This is a cross-entropy: equal logits do
    not give 0.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape.
        target: The true class of each position.
        temperature: T above 0; the paper has 2 on ImageNet. A 0-dim tensor when it is scheduled.
        eps: What is added to the teacher's cross-entropy, in nats, above 0.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        InputError: The target holds probabilities: mixed labels have no true class.
        ShapeError: The shapes do not fit, or there are fewer than two classes.
        DataError: A class index is outside ``[0, C)``.

    Equal logits have the weight ``1 - 1 / e``; here it meets the cross-entropy ``log 2``:

    >>> import torch
    >>> student, target = torch.zeros(1, 2), torch.tensor([0])
    >>> weighted_soft_labels(student, student, target, temperature=1.0)
    tensor([0.4382])
    """
    _check.logits(student, "WSLDLoss")
    _check.same_shape(student, teacher, where="WSLDLoss", hint="both need the same classes")
    y = class_indices(student, target, kept, "WSLDLoss")
    z_s, z_t = (widen(blank_dropped(logits, kept)) for logits in (student, teacher.detach()))
    loss_s, loss_t = (-of_class(z.log_softmax(-1), y) for z in (z_s.detach(), z_t))
    weight = (-loss_s / (loss_t + eps)).expm1()  # its negative
    p, log_q = (z_t / temperature).softmax(-1), (z_s / temperature).log_softmax(-1)
    values = weight * temperature**2 * expected(p, log_q)
    return values if kept is None else values.masked_fill(~kept, 0)


class WSLDLoss(LogitLoss):
    """Softened cross-entropy, weighted by what it helps. See :func:`weighted_soft_labels`.

    The mean over positions. The paper weighs it with 2.5 on ImageNet beside a cross-entropy of 1.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        eps: What is added to the teacher's cross-entropy, in nats, above 0.
        ignore_index: Class index that drops a position.

    >>> WSLDLoss()
    WSLDLoss(temperature=2.0, eps=1e-07, ignore_index=-100)
    """

    name = "wsld"
    paper = "2102.00650"
    needs_target = True

    temperature: float | Tensor

    def __init__(
        self,
        *,
        temperature: float | Schedule = 2.0,
        eps: float = EPS,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("temperature", temperature, _check.positive)
        self.eps = _check.positive(eps, "WSLDLoss.eps")

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        target: Tensor,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the weighted cross-entropy of each position, in nats."""
        temperature = self._value("temperature")
        return weighted_soft_labels(
            student, teacher, target, temperature=temperature, eps=self.eps, kept=kept
        )
