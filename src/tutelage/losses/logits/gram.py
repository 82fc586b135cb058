"""Gram matrices of predictions: multi-level logit distillation (Jin et al., CVPR 2023)."""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Loss, Schedule, widen
from tutelage.losses.gather import gathered
from tutelage.losses.reduction import blank_dropped, kept_positions


def class_gram_difference(
    student: Float[Tensor, "B C"], teacher: Float[Tensor, "B C"]
) -> Float[Tensor, ""]:
    r"""Measure how unlike the classes go together in two matrices of probabilities.

    .. math:: \frac{1}{C} \lVert P_t^\top P_t - P_s^\top P_s \rVert_F^2

    Args:
        student: Probabilities, one row for each sample.
        teacher: Probabilities of the same shape.

    Returns:
        A number without unit. It grows as the square of the batch: each entry of a Gram matrix is
        a sum over samples. With C it falls about as 1 / C.

    Two samples, each sure, of one class against of two: ((2 - 1)^2 + (0 - 1)^2) / 2:

    >>> one, two = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.eye(2)
    >>> class_gram_difference(one, two)
    tensor(1.)
    """
    return _squared(student.mT @ student - teacher.mT @ teacher) / student.shape[-1]


def batch_gram_difference(
    student: Float[Tensor, "B C"],
    teacher: Float[Tensor, "B C"],
    count: float | Tensor | None = None,
) -> Float[Tensor, ""]:
    r"""Measure how unlike the samples resemble each other in two matrices of probabilities.

    .. math:: \frac{1}{B} \lVert P_t P_t^\top - P_s P_s^\top \rVert_F^2

    Args:
        student: Probabilities, one row for each sample.
        teacher: Probabilities of the same shape.
        count: B, where some rows are zeros and do not count. Default: all rows.

    Returns:
        A number without unit. It grows in proportion to the batch, and memory with its square. It
        falls with C as predictions spread over more classes.

    Two samples, each sure, of one class against of two: 2 (1 - 0)^2 / 2:

    >>> one, two = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.eye(2)
    >>> batch_gram_difference(one, two)
    tensor(1.)
    """
    total = _squared(student @ student.mT - teacher @ teacher.mT)
    return total / (max(len(student), 1) if count is None else count)


class _GramLoss(Loss):
    # What both levels share: rows of softened probabilities, of all processes.
    paper = "Jin et al., CVPR 2023"
    compares_samples = True

    temperature: float | Tensor
    gather: bool
    ignore_index: int

    def __init__(
        self,
        *,
        temperature: float | Schedule = 4.0,
        gather: bool = True,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        self._hyper("temperature", temperature, _check.positive)
        self.gather = gather
        self.ignore_index = ignore_index

    @abstractmethod
    def relate(
        self, student: Float[Tensor, "B C"], teacher: Float[Tensor, "B C"], count: Tensor
    ) -> Float[Tensor, ""]:
        """Return the loss of rows of probabilities, zeros where a position is dropped."""

    def forward(
        self, student: Tensor, teacher: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the loss of all positions that ``target`` does not drop."""
        who = type(self).__name__
        teacher = _check.present(teacher, who, "the teacher's logits", "add a teacher").detach()
        _check.logits(student, who)
        _check.same_shape(student, teacher, where=who, hint="both need the same classes")
        kept = kept_positions(student, target, self.ignore_index)
        temperature = self._value("temperature")
        rows = []
        for logits in (student, teacher):
            z = widen(blank_dropped(logits, kept))
            rows.append(blank_dropped((z / temperature).softmax(-1), kept).flatten(0, -2))
        p_s, p_t = rows
        counts = p_s.new_ones(len(p_s)) if kept is None else kept.flatten().to(p_s.dtype)
        if self.gather:
            p_s, p_t, counts = gathered(p_s), gathered(p_t), gathered(counts)
        with torch.autocast(p_s.device.type, enabled=False):
            return self.relate(p_s, p_t, counts.sum().clamp(min=1))


class ClassGramLoss(_GramLoss):
    """How classes go together over a batch. See :func:`class_gram_difference`.

    The class level of multi-level logit distillation, at one temperature and without a factor
    T^2; the paper adds it to KD and to :class:`BatchGramLoss` at each of the temperatures 2, 3, 4,
    5 and 6, on weakly and strongly augmented views. Its released code also multiplies them by the
    share of samples of which the teacher is sure enough, about 1/2; that is left out here.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        gather: Whether to sum over the samples of all processes, while training. Without it the
            value falls with the square of their number.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> ClassGramLoss()
    ClassGramLoss(temperature=4.0, gather=True, ignore_index=-100)
    """

    name = "class_gram"

    def relate(
        self, student: Float[Tensor, "B C"], teacher: Float[Tensor, "B C"], count: Tensor
    ) -> Float[Tensor, ""]:
        """Return the mean over classes of the squared difference of the Gram matrices' rows."""
        return class_gram_difference(student, teacher)


class BatchGramLoss(_GramLoss):
    """How the samples of a batch resemble each other. See :func:`batch_gram_difference`.

    The batch level of multi-level logit distillation, at one temperature and without a factor
    T^2; see :class:`ClassGramLoss`. Tokens ``[B, N, V]`` are B * N samples.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        gather: Whether to compare the samples of all processes, while training. Without it the
            value falls with their number.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> BatchGramLoss()
    BatchGramLoss(temperature=4.0, gather=True, ignore_index=-100)
    """

    name = "batch_gram"

    def relate(
        self, student: Float[Tensor, "B C"], teacher: Float[Tensor, "B C"], count: Tensor
    ) -> Float[Tensor, ""]:
        """Return the mean over samples of the squared difference of the Gram matrices' rows."""
        return batch_gram_difference(student, teacher, count)


def _squared(difference: Tensor) -> Tensor:
    return difference.square().sum()
