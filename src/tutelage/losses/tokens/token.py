"""Losses over the tokens of sequences: mask, causal shift and denominator, each stated once."""

from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.losses.base import Loss
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.reduction import kept_positions
from tutelage.signals import SparseLogits

COUNTS = ("tokens", "sequences")


def over_count(
    values: Float[Tensor, "B N"],
    kept: Bool[Tensor, "B N"] | None = None,
    *,
    count: str | int | Tensor = "tokens",
) -> Float[Tensor, ""]:
    r"""Return the sum of the values of the kept tokens, divided by a stated count.

    .. math:: \mathrm{tokens:}\ \frac{\sum_{bn} m_{bn} \ell_{bn}}{\sum_{bn} m_{bn}} \qquad
        \mathrm{sequences:}\ \frac{1}{|B|} \sum_{b}
        \frac{\sum_n m_{bn} \ell_{bn}}{\sum_n m_{bn}} \qquad
        \mathrm{number:}\ \frac{1}{\mathrm{count}} \sum_{bn} m_{bn} \ell_{bn}

    The three differ as soon as sequences have unequal lengths: ``"tokens"`` weighs each token of
    the batch alike, ``"sequences"`` each sequence that has any. A number is for batches that are
    one piece of a larger one, whose tokens it counts; 1 gives the sum.

    Args:
        values: One value for each token, 0 where not kept.
        kept: Which tokens count, :math:`m`; ``None`` for all.
        count: ``"tokens"``, ``"sequences"`` or a number above 0.

    >>> import torch
    >>> values = torch.tensor([[1.0, 3.0], [6.0, 0.0]])
    >>> kept = torch.tensor([[True, True], [True, False]])
    >>> for count in ("tokens", "sequences", 5):
    ...     print(over_count(values, kept, count=count))
    tensor(3.3333)
    tensor(4.)
    tensor(2.)
    """
    if not isinstance(count, str):
        return values.sum() / count
    if kept is None:
        kept = torch.ones_like(values, dtype=torch.bool)
    if count == "tokens":
        return values.sum() / kept.sum().clamp(min=1)
    means = values.sum(1) / kept.sum(1).clamp(min=1)
    return means.sum() / kept.any(1).sum().clamp(min=1)


class TokenLoss(Loss):
    """Any loss of logits on the tokens of sequences ``[B, N, V]``. See :func:`over_count`.

    The target is one token id for each position, ``[B, N]``, and ``ignore_index`` where there is
    none. Positions without a target count nothing, whatever stands there; without any the loss is
    0 with its graph.

    Args:
        loss: The loss of one position: :class:`~tutelage.losses.KDLoss`,
            :class:`~tutelage.losses.CELoss` or any other that gives each position its own value.
        shift: 0 where ``target[b, n]`` belongs to ``logits[b, n]``; 1 where it is what the model
            should say *after* position n - 1, so that ``logits[:, :-1]`` meet ``target[:, 1:]``:
            a causal model with its own inputs as target. There is no default: a wrong shift
            trains, and nobody notices.
        count: What the sum over tokens is divided by: ``"tokens"`` of this batch with a target,
            ``"sequences"`` for the mean over each sequence and then over those, or a number that
            :meth:`set_count` can change.
        ignore_index: Target that drops a position; the loss must have the same.

    Raises:
        InputError: The loss has no value for each position, or an option is out of range.

    >>> import torch
    >>> from tutelage.losses import CELoss
    >>> loss = TokenLoss(CELoss(), shift=1)
    >>> loss(torch.zeros(1, 3, 4), None, torch.tensor([[2, 1, -100]]))  # log 4 for one token
    tensor(1.3863)
    """

    name = "tokens"
    paper = "none"
    needs_target: ClassVar[bool] = True

    _given: Tensor  # the count and the number of processes

    def __init__(
        self,
        loss: LogitLoss,
        *,
        shift: int,
        count: str | int = "tokens",
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        self.loss = _checked(loss, ignore_index)
        # Known as what it wraps: two of them in one objective would share another name.
        self.name, self.paper = loss.name, loss.paper  # type: ignore[misc]
        self.needs_teacher = loss.needs_teacher  # type: ignore[misc]
        self.takes_sparse = loss.takes_sparse  # type: ignore[misc]
        if shift not in (0, 1):
            raise InputError(f"TokenLoss.shift: expected 0 or 1, found {shift!r}")
        self.shift = shift
        self.ignore_index = ignore_index
        self._counts = count if isinstance(count, str) else "number"
        if isinstance(count, str):
            _check.one_of(count, COUNTS, "TokenLoss.count")
        else:
            # Whole numbers in a buffer: neither recompiles when changed nor is rounded by half().
            self.register_buffer("_given", torch.ones(2, dtype=torch.int64), persistent=False)
            self.set_count(count)

    @property
    def is_scheduled(self) -> bool:
        """Whether a hyper-parameter of the loss follows a schedule."""
        return self.loss.is_scheduled

    @property
    def count(self) -> str | int:
        """What the sum over tokens is divided by."""
        return self._counts if self._counts in COUNTS else int(self._given[0])

    def check_sparse(self, example: SparseLogits) -> None:
        """Raise unless the loss has a value for a teacher that gives logits such as these."""
        self.loss.check_sparse(example)

    def set_step(self, step: int) -> None:
        """Move everything scheduled to its value at optimiser step ``step``."""
        self.loss.set_step(step)

    def set_count(self, count: int, *, processes: int = 1) -> None:
        """Divide by ``count`` from now on, say the tokens with a target of one optimiser step.

        Args:
            count: How many tokens there are in all micro-batches and processes together. The
                losses of the micro-batches are then to be summed, not averaged.
            processes: How many processes' gradients are averaged (DDP): the value is multiplied
                by it, so that their mean is the sum.

        Raises:
            InputError: A number is no whole number above 0, or the loss counts for itself.
        """
        if self._counts in COUNTS:
            raise InputError(
                f"TokenLoss.set_count: expected a loss with a number for count=, found "
                f"{self._counts!r}; build it with TokenLoss(..., count=1)"
            )
        for name, number in (("count", count), ("processes", processes)):
            if not isinstance(number, int) or isinstance(number, bool) or number < 1:
                raise InputError(
                    f"TokenLoss.{name}: expected a whole number above 0, found {number!r}"
                )
        self._given.copy_(torch.tensor([count, processes]))

    def forward(self, student: Tensor, teacher: Any, target: Tensor | None = None) -> Tensor:
        """Return the sum over tokens with a target, divided by the count.

        Args:
            student: Logits ``[B, N, V]``.
            teacher: Logits of the same tokens, or a
                :class:`~tutelage.signals.SparseLogits`.
            target: Token ids ``[B, N]``; ``ignore_index`` drops one.

        Raises:
            ShapeError: The tensors do not fit.
            InputError: Something that the loss reads is missing.
        """
        who = f"TokenLoss({type(self.loss).__name__})"
        target = _check.present(target, who, "token ids [B, N]", "give them as the target")
        _check_tokens(student, target, who)
        if self.needs_teacher:
            teacher = _check.present(teacher, who, "the teacher's logits", "add a teacher").detach()
        if self.shift:
            stop = student.shape[1] - 1
            student, target = student[:, :-1], target[:, 1:]
            if isinstance(teacher, SparseLogits):
                teacher = teacher.positions(stop)
            elif teacher is not None:
                teacher = teacher[:, :-1]
        kept = kept_positions(student, target, self.ignore_index)
        values = self.loss.values(student, teacher, target, kept)
        if self._counts in COUNTS:
            return over_count(values, kept, count=self._counts)
        # A copy, so that the next step's count may come before this step's backward.
        count, processes = self._given.clone().unbind()
        return over_count(values, kept, count=count) * processes

    def extra_repr(self) -> str:
        """Show the hyper-parameters."""
        return f"shift={self.shift}, count={self.count!r}, ignore_index={self.ignore_index}"


def _checked(loss: LogitLoss, ignore_index: int) -> LogitLoss:
    if not isinstance(loss, LogitLoss) or loss.compares_samples:
        raise InputError(
            f"TokenLoss.loss: expected a loss of logits that gives each position its own value, "
            f"such as KDLoss(), found {loss!r}"
        )
    if loss.ignore_index != ignore_index:
        raise InputError(
            f"TokenLoss.ignore_index: expected that of the loss, {loss.ignore_index}, found "
            f"{ignore_index}; give both the same"
        )
    return loss


def _check_tokens(student: Tensor, target: Tensor, who: str) -> None:
    if student.ndim != 3 or target.shape != student.shape[:2] or target.is_floating_point():
        raise ShapeError(
            f"{who}: expected logits [B, N, V] and one token id for each position [B, N], found "
            f"logits {_check.shape(student)} and a target {_check.shape(target)} of "
            f"{target.dtype}; targets of causal models are their inputs, not shifted (shift=1)"
        )
