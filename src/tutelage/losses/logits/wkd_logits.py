"""Wasserstein distance between predictions: WKD-L (Lv et al., NeurIPS 2024, 2412.08139)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.class_costs import SIMILARITIES, class_costs
from tutelage.losses.logits.target import true_class
from tutelage.losses.logits.transport import STEEPEST, transport_cost
from tutelage.losses.reduction import blank_dropped, expected


def separated_transport(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    target: Int[Tensor, "*B"],
    cost: Float[Tensor, "C C"],
    *,
    temperature: float | Tensor = 2.0,
    transport_weight: float | Tensor = 30.0,
    epsilon: float = 0.05,
    iterations: int = 10,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure WKD-L at each position: the true class by its logarithm, the others by transport.

    .. math:: -p_y \log q_y + w \, W_\epsilon(\hat q, \hat p), \qquad
        p = \mathrm{softmax}(z^t), \quad q = \mathrm{softmax}(z^s)

    where :math:`\hat p, \hat q` are the softmax over the other classes alone of the logits
    divided by T, and :math:`W_\epsilon` is ``transport_cost`` of ``losses.logits.transport``. The
    first part is in nats and is not tempered; the second lies between 0 and the highest cost,
    whatever C.

    Args:
        student: Logits, ``[B, C]`` or ``[B, N, V]``: the classes are the last axis.
        teacher: Logits of the same shape. Where all but the true class are ``-inf`` there is
            nothing to move and the second part is 0.
        target: The true classes, ``[B]`` or ``[B, N]``.
        cost: Between classes, ``[C, C]``, at least 0.
        temperature: T above 0.
        transport_weight: w, at least 0.
        epsilon: The blur of the transport, above 0.
        iterations: Of Sinkhorn.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The shapes differ, or there are fewer than two classes.
        InputError: The target holds probabilities.
    """
    _check.logits(student, "WKDLogitsLoss")
    _check.same_shape(student, teacher, where="WKDLogitsLoss", hint="both need the same classes")
    is_true = true_class(student, target, kept, "WKDLogitsLoss")
    z_s, z_t = (blank_dropped(widen(logits), kept) for logits in (student, teacher.detach()))
    p_y = z_t.softmax(-1).masked_fill(~is_true, 0.0)
    moves = z_t.masked_fill(is_true, -torch.inf).ne(-torch.inf).any(-1)
    log_q, log_p = (
        (z.masked_fill(is_true, -torch.inf) / temperature).log_softmax(-1)
        for z in (z_s, z_t.masked_fill(~moves.unsqueeze(-1), 0.0))
    )
    moved = transport_cost(
        log_q, log_p, cost.to(log_q.dtype), epsilon=epsilon, iterations=iterations
    )
    values = transport_weight * moved * moves - expected(p_y, z_s.log_softmax(-1))
    return values if kept is None else values.masked_fill(~kept, 0.0)


class WKDLogitsLoss(LogitLoss):
    """The teacher's true class, and transport of the others. See :func:`separated_transport`.

    The cost of taking one class for another comes from the rows of the teacher's classifier
    (``Term(WKDLogitsLoss(), borrow="fc")``), or is given, from features of the training set as in
    the paper's best results: ``class_costs`` (in ``losses.logits.class_costs``) makes it of one
    vector for each class. A mean
    over positions, whatever the batch. The second part does not grow with C, the first about as
    log C; the paper weighs the second with 30 at T = 2 on ImageNet and 600 at T = 8 on CIFAR-100,
    where a cosine to 0 begins at epoch 150 of 240.

    Args:
        temperature: T above 0 of the transport, or a schedule from the optimiser step to it.
        transport_weight: Of the transport, at least 0, or a schedule.
        cost: Between classes, ``[C, C]``, finite and at least 0, in place of what is borrowed.
        similarity: Of the borrowed rows: ``"cosine"`` or ``"cka"``.
        sharpness: Of the cost made of it, above 0.
        epsilon: The blur of the transport, above 0 and at least 1/60 of the highest cost.
        iterations: Of Sinkhorn, at least 1.
        ignore_index: Class index that drops a position.

    Raises:
        InputError: An option is outside its range.
        ShapeError: The cost is not a square matrix.

    >>> WKDLogitsLoss().borrow(nn.Linear(8, 3))
    """

    name = "wkd_logits"
    paper = "2412.08139"
    needs_target = True
    borrows = "the teacher's classifier, a linear layer"

    cost: Tensor | None
    temperature: float | Tensor
    transport_weight: float | Tensor

    def __init__(
        self,
        *,
        temperature: float | Schedule = 2.0,
        transport_weight: float | Schedule = 30.0,
        cost: Tensor | Sequence[Sequence[float]] | None = None,
        similarity: str = "cosine",
        sharpness: float = 1.0,
        epsilon: float = 0.05,
        iterations: int = 10,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("temperature", temperature, _check.positive)
        self._hyper("transport_weight", transport_weight, _check.non_negative)
        self.similarity = _check.one_of(similarity, SIMILARITIES, "WKDLogitsLoss.similarity")
        self.sharpness = _check.positive(sharpness, "WKDLogitsLoss.sharpness")
        self.epsilon = _check.positive(epsilon, "WKDLogitsLoss.epsilon")
        self.iterations = _counted(iterations)
        self.register_buffer("cost", None, persistent=False)
        if cost is not None:
            self.cost = self._checked(torch.as_tensor(cost))
        self._is_given = cost is not None

    @property
    def has_borrowed(self) -> bool:
        """Whether it knows the cost of taking one class for another."""
        return self.cost is not None

    def borrow(self, module: nn.Module) -> None:
        """Compute the cost from the rows of a classifier's weight.

        Raises:
            InputError: It is no linear layer, or a cost was given.
        """
        if self._is_given:
            raise InputError("WKDLogitsLoss: has a cost=; leave out that, or borrow=")
        if not isinstance(module, nn.Linear):
            raise InputError(
                f"WKDLogitsLoss: expected {self.borrows}, found {type(module).__name__}; name the "
                "last layer, borrow='fc', or give cost=class_costs(vectors)"
            )
        made = class_costs(module.weight, similarity=self.similarity, sharpness=self.sharpness)
        self.cost = self._checked(made)

    def values(
        self,
        student: Float[Tensor, "*B C"],
        teacher: Float[Tensor, "*B C"] | None,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the loss of each position."""
        assert teacher is not None
        assert target is not None
        if self.cost is None:
            raise InputError(
                f"WKDLogitsLoss: expected to borrow {self.borrows}, found none; add borrow='fc' "
                "to the Term, call borrow(module), or give cost="
            )
        _check.logits(student, "WKDLogitsLoss")
        if len(self.cost) != student.shape[-1]:
            raise ShapeError(
                f"WKDLogitsLoss: expected logits of the {len(self.cost)} classes of its cost, "
                f"found student {_check.shape(student)} vs teacher {_check.shape(teacher)}; give "
                "cost= between the student's classes"
            )
        with torch.autocast(student.device.type, enabled=False):
            return separated_transport(
                student,
                teacher,
                target,
                self.cost,
                temperature=self._value("temperature"),
                transport_weight=self._value("transport_weight"),
                epsilon=self.epsilon,
                iterations=self.iterations,
                kept=kept,
            )

    def extra_repr(self) -> str:
        """Show the hyper-parameters."""
        return (
            f"temperature={self._shown('temperature')}, "
            f"transport_weight={self._shown('transport_weight')}, "
            f"similarity={self.similarity!r}, sharpness={self.sharpness}, "
            f"epsilon={self.epsilon}, iterations={self.iterations}, "
            f"ignore_index={self.ignore_index}"
        )

    def _checked(self, cost: Tensor) -> Tensor:
        cost = widen(cost.detach())
        if cost.ndim != 2 or cost.shape[0] != cost.shape[1]:
            raise ShapeError(
                f"WKDLogitsLoss.cost: expected a matrix [C, C], found {_check.shape(cost)}"
            )
        if not (cost.isfinite().all() and (cost >= 0).all()):
            raise InputError("WKDLogitsLoss.cost: expected finite numbers of at least 0")
        highest = cost.max().item() if cost.numel() else 0.0
        if highest > STEEPEST * self.epsilon:
            raise InputError(
                f"WKDLogitsLoss.epsilon: expected at least {highest / STEEPEST:.3g}, 1/60 of the "
                f"highest cost, found {self.epsilon}: exp(-cost / epsilon) would vanish"
            )
        return cost


def _counted(iterations: int) -> int:
    if not isinstance(iterations, int) or isinstance(iterations, bool) or iterations < 1:
        raise InputError(
            f"WKDLogitsLoss.iterations: expected a whole number of at least 1, found {iterations!r}"
        )
    return iterations
