"""Logit standardisation before KD (Sun et al., CVPR 2024, 2403.01427), and NormKD (2308.00520)."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.linalg import vector_norm

from tutelage import _check
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.kd import tempered_divergence
from tutelage.losses.reduction import blank_dropped

EPS = 1e-7


def standardized(logits: Float[Tensor, "*B C"], *, eps: float = EPS) -> Float[Tensor, "*B C"]:
    r"""Return each position's logits with mean 0 and standard deviation 1 over the classes.

    .. math:: \mathcal{Z}(z)_c = \frac{z_c - \bar z}{\sigma(z) + \varepsilon}, \qquad
        \sigma(z)^2 = \frac{1}{C - 1} \sum_c (z_c - \bar z)^2

    A row of equal logits has no direction: it gives 0, with the gradient 0 (the released code has
    a NaN there). A row with an infinite logit has no mean: it gives NaN.

    Args:
        logits: ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        eps: What is added to the deviation, in logits, at least 0.

    >>> import torch
    >>> standardized(torch.tensor([[1.0, 2.0, 3.0], [7.0, 7.0, 7.0]]))
    tensor([[-1.0000,  0.0000,  1.0000],
            [ 0.0000,  0.0000,  0.0000]])
    """
    centred, deviation = _moments(widen(logits))
    is_flat = deviation == 0
    return (centred / (deviation + eps).masked_fill(is_flat, 1)).masked_fill(is_flat, 0)


def standardized_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    temperature: float | Tensor = 2.0,
    weight_by_teacher_std: bool = False,
    eps: float = EPS,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure KD between standardised logits, in nats per position.

    .. math:: w \, T^2 \, \mathrm{KL}\big(\mathrm{softmax}(\mathcal{Z}(z^t) / T) \,\|\,
        \mathrm{softmax}(\mathcal{Z}(z^s) / T)\big), \qquad w = 1 \text{ or } \sigma(z^t)^2

    with :func:`standardized` for Z. Only the order and the relative distances of the student's
    logits are taught, not their size: scaling or shifting them changes nothing. With C classes
    no standardised logit exceeds :math:`(C - 1) / \sqrt C`, so T and C together bound how
    certain the targets can be.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Finite logits of the same shape.
        temperature: T above 0, in standard deviations; the paper uses 2. A 0-dim tensor when it is
            scheduled.
        weight_by_teacher_std: Whether to weigh each position with the squared deviation of the
            teacher's logits. This is NormKD, whose temperatures
            :math:`T \sigma(z)` divide the logits as the standardisation does.
        eps: What is added to the deviations, in logits.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    The size of the logits does not count:

    >>> import torch
    >>> logits = torch.tensor([[1.0, 2.0, 4.0]])
    >>> standardized_divergence(logits, 3 * logits).abs() < 1e-6
    tensor([True])
    """
    _check.logits(student, "LSKDLoss")
    _check.same_shape(student, teacher, where="LSKDLoss", hint="both need the same classes")
    teacher = blank_dropped(teacher.detach(), kept)
    values = tempered_divergence(
        standardized(blank_dropped(student, kept), eps=eps),
        standardized(teacher, eps=eps),
        temperature=temperature,
        kept=kept,
    )
    if weight_by_teacher_std:
        values = values * _moments(widen(teacher))[1].squeeze(-1).square()
    return values


class LSKDLoss(LogitLoss):
    """KD between standardised logits, mean over positions. See :func:`standardized_divergence`.

    The paper weighs it with 9 (6 to 18, by pair) beside a cross-entropy of 0.1. For the paper's
    standardisation before DKD use ``DKDLoss(standardize=True)``.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        weight_by_teacher_std: Whether to weigh each position with the teacher's variance (NormKD).
        eps: What is added to the deviations, in logits.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> LSKDLoss(temperature=2.0)
    LSKDLoss(temperature=2.0, weight_by_teacher_std=False, eps=1e-07, ignore_index=-100)
    """

    name = "lskd"
    paper = "2403.01427"

    temperature: float | Tensor

    def __init__(
        self,
        *,
        temperature: float | Schedule = 2.0,
        weight_by_teacher_std: bool = False,
        eps: float = EPS,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("temperature", temperature, _check.positive)
        self.weight_by_teacher_std = weight_by_teacher_std
        self.eps = _check.non_negative(eps, "LSKDLoss.eps")

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"],
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position, in nats."""
        return standardized_divergence(
            student,
            teacher,
            temperature=self._value("temperature"),
            weight_by_teacher_std=self.weight_by_teacher_std,
            eps=self.eps,
            kept=kept,
        )


def _moments(z: Float[Tensor, "*B C"]) -> tuple[Float[Tensor, "*B C"], Float[Tensor, "*B 1"]]:
    # Shifting by one logit first makes equal logits exactly 0, and large ones exact.
    z = z - z[..., :1].detach()
    centred = z - z.mean(-1, keepdim=True)
    # vector_norm has the gradient 0 where all is 0, where std has NaN.
    deviation: Tensor = vector_norm(centred, dim=-1, keepdim=True)
    return centred, deviation / (z.shape[-1] - 1) ** 0.5
