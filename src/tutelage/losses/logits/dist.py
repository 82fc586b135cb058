"""Knowledge distillation from a stronger teacher (DIST; Huang et al., NeurIPS 2022, 2205.10536)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.linalg import vector_norm

from tutelage import _check
from tutelage.losses.base import Loss, Schedule, widen
from tutelage.losses.gather import gathered, gathers
from tutelage.losses.reduction import blank_dropped, kept_positions, mean_of_kept

EPS = 1e-8


def correlation_distance(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    *,
    temperature: float | Tensor = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    eps: float = EPS,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, ""]:
    r"""Measure how little the student's probabilities correlate with the teacher's.

    .. math:: T^2 \Big[ \beta \big( 1 - \langle \rho(p^t_{b \cdot}, p^s_{b \cdot}) \rangle_b \big)
        + \gamma \big( 1 - \langle \rho(p^t_{\cdot c}, p^s_{\cdot c}) \rangle_c \big) \Big], \qquad
        \rho(x, y) = \frac{(x - \bar x)^\top (y - \bar y)}
        {\|x - \bar x\| \, \|y - \bar y\| + \varepsilon}

    with p the softmax of the logits over T: the Pearson correlation of the
    classes within each position (a row), and of the positions within each class (a column).
    Without unit; each bracket runs from 0 to 2. The columns compare samples: their term changes
    with the batch. A constant row or column (the columns of a single position are) correlates
    with nothing: it counts as :math:`\rho = 0`, without gradient. The more classes, the smaller
    the columns: where :math:`\varepsilon` exceeds the product of their norms, their term fades to
    :math:`\gamma T^2`.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis, and all others
            are positions.
        teacher: Logits of the same shape.
        temperature: T above 0; the paper has 1 on ImageNet and 4 on CIFAR. A 0-dim tensor when it
            is scheduled.
        beta: Weight of the rows, at least 0.
        gamma: Weight of the columns, at least 0.
        eps: What is added to the product of the norms, above 0.
        kept: Which positions count. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.

    A student that answers the other way round is as far as can be, in rows and columns:

    >>> import torch
    >>> teacher = torch.eye(2)
    >>> correlation_distance(1 - teacher, teacher)
    tensor(4.0000)
    """
    _check.logits(student, "DISTLoss")
    _check.same_shape(student, teacher, where="DISTLoss", hint="both need the same classes")
    if not student.numel():
        return widen(student).sum()
    p_s, p_t = (
        (widen(blank_dropped(logits, kept)) / temperature).softmax(-1).flatten(0, -2)
        for logits in (student, teacher.detach())
    )
    kept = None if kept is None else kept.flatten()
    of_rows = 1 - _correlation(_centred(p_s, -1), _centred(p_t, -1), -1, eps)
    rows = mean_of_kept(of_rows if kept is None else of_rows.masked_fill(~kept, 0), kept)
    x_s, x_t = (_centred_columns(p, kept) for p in (p_s, p_t))
    columns = 1 - _correlation(x_s, x_t, 0, eps).mean()
    if kept is not None:
        columns = columns * kept.any()
    return temperature**2 * (beta * rows + gamma * columns)


class DISTLoss(Loss):
    """Correlation with the teacher, within rows and columns. See :func:`correlation_distance`.

    The paper weighs it with 2 beside a cross-entropy of 1.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        beta: Weight of the correlation within each position, at least 0.
        gamma: Weight of the correlation within each class, at least 0.
        eps: What is added to the product of the norms, above 0.
        gather: Whether to compare the positions of all processes, so that the value and, under
            DDP, the gradient are those of one process with the whole batch. Only while training:
            under ``no_grad`` nothing is gathered, since one process may then be alone.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> DISTLoss()
    DISTLoss(temperature=1.0, beta=1.0, gamma=1.0, eps=1e-08, gather=True, ignore_index=-100)
    """

    name = "dist"
    paper = "2205.10536"
    compares_samples = True

    temperature: float | Tensor

    def __init__(
        self,
        *,
        temperature: float | Schedule = 1.0,
        beta: float = 1.0,
        gamma: float = 1.0,
        eps: float = EPS,
        gather: bool = True,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        self._hyper("temperature", temperature, _check.positive)
        self.beta = _check.non_negative(beta, "DISTLoss.beta")
        self.gamma = _check.non_negative(gamma, "DISTLoss.gamma")
        self.eps = _check.positive(eps, "DISTLoss.eps")
        self.gather = gather
        self.ignore_index = ignore_index

    def forward(
        self, student: Tensor, teacher: Tensor | None = None, target: Tensor | None = None
    ) -> Tensor:
        """Return the distance over the positions that ``target`` does not drop, without unit."""
        teacher = _check.present(teacher, "DISTLoss", "the teacher's logits", "add a teacher")
        teacher, kept = teacher.detach(), kept_positions(student, target, self.ignore_index)
        if self.gather and gathers():
            if kept is None:  # another process may drop some
                kept = torch.ones(student.shape[:-1], dtype=torch.bool, device=student.device)
            student, teacher, kept = (gathered(part) for part in (student, teacher, kept))
        return correlation_distance(
            student,
            teacher,
            temperature=self._value("temperature"),
            beta=self.beta,
            gamma=self.gamma,
            eps=self.eps,
            kept=kept,
        )


def _centred(p: Float[Tensor, "B C"], axis: int) -> Float[Tensor, "B C"]:
    p = p - p.narrow(axis, 0, 1).detach()  # makes what is constant exactly 0
    return p - p.mean(axis, keepdim=True)


def _centred_columns(
    p: Float[Tensor, "B C"], kept: Bool[Tensor, "B"] | None
) -> Float[Tensor, "B C"]:
    if kept is None:
        return _centred(p, 0)
    is_dropped, first = ~kept.unsqueeze(-1), kept.int().argmax().view(1)
    p = (p - p.index_select(0, first).detach()).masked_fill(is_dropped, 0)
    mean = p.sum(0, keepdim=True) / kept.sum().clamp(min=1)
    return (p - mean).masked_fill(is_dropped, 0)


def _correlation(x: Tensor, y: Tensor, axis: int, eps: float) -> Tensor:
    norms: Tensor = vector_norm(x, dim=axis) * vector_norm(y, dim=axis)
    # Where x is constant the gradient would be the teacher's y / eps: huge, without meaning.
    return ((x * y).sum(axis) / (norms + eps)).masked_fill(norms == 0, 0)
