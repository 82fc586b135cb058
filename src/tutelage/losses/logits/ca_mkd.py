"""Several teachers by their confidence (Zhang, Chen and Wang, ICASSP 2022, 2201.00007)."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import InputError
from tutelage.losses.base import Loss, Schedule, widen
from tutelage.losses.logits.ce import cross_entropy
from tutelage.losses.logits.kd import tempered_divergence
from tutelage.losses.reduction import blank_dropped, kept_positions, mean_of_kept

VARIANTS = ("paper", "author")


def confidence_weights(
    teachers: Sequence[Float[Tensor, "*B C"]],
    target: Tensor,
    *,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "M *B"]:
    r"""Return how much each of M teachers counts at each position; over teachers they sum to 1.

    .. math:: w_m = \frac{1}{M - 1} \Bigl( 1 - \frac{e^{H_m}}{\sum_k e^{H_k}} \Bigr), \qquad
        H_m = -\log \mathrm{softmax}(z^m)_y

    The worse a teacher predicts the label (:math:`H_m`, equations 2 and 3), the less it counts;
    none counts more than 1 / (M - 1), so of many teachers none can lead. A single one has 1.

    Args:
        teachers: Logits of each teacher, of one shape.
        target: Class indices, one for each position, or class probabilities.
        kept: Which positions count; what the weights are at the others does not matter.

    Raises:
        ShapeError: The target does not fit the logits.
        DataError: A class index is outside ``[0, C)``.

    The first is right for sure and the second undecided between two: 1 - 1 / (1 + 2):

    >>> teachers = torch.tensor([[20.0, 0.0]]), torch.zeros(1, 2)
    >>> confidence_weights(teachers, torch.tensor([0])).T
    tensor([[0.6667, 0.3333]])
    """
    if len(teachers) == 1:
        return torch.ones_like(widen(teachers[0][..., 0])).unsqueeze(0)
    if kept is not None:
        target = target.masked_fill(~kept, 0)
    errors = torch.stack([cross_entropy(blank_dropped(t, kept), target) for t in teachers])
    # A teacher that rules the label out has an infinite error.
    share = errors.clamp(max=torch.finfo(errors.dtype).max).softmax(0)
    return (1 - share) / (len(teachers) - 1)


def confident_divergence(
    students: Sequence[Float[Tensor, "*B C"]],
    teachers: Sequence[Float[Tensor, "*B C"]],
    target: Tensor,
    *,
    temperature: float | Tensor = 4.0,
    variant: str = "paper",
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure KD from several teachers, weighted at each position, in nats.

    .. math:: \sum_m w_m \, T^2 \, \mathrm{KL}(\mathrm{softmax}(z^m / T) \,\|\,
        \mathrm{softmax}(z^s / T))

    with the weights of ``confidence_weights``. The paper (equation 4) writes the cross-entropy in
    place of the divergence: the gradient is the same.

    Args:
        students: The student's logits, once for each teacher: ``[B, C]`` or ``[B, N, V]``.
        teachers: Logits of each teacher, of the same shape.
        target: Class indices or class probabilities.
        temperature: T above 0.
        variant: ``"paper"``, or ``"author"``, whose code divides by M once more.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        InputError: There are not as many students as teachers, or none.
        ShapeError: Shapes differ, or there are fewer than two classes.
    """
    if len(students) != len(teachers) or not teachers:
        raise InputError(
            f"CAMKDLoss: expected the student's logits once for each teacher, found "
            f"{len(students)} and {len(teachers)}; name every teacher, "
            'at=[(None, "first"), (None, "second")]'
        )
    for student, teacher in zip(students, teachers, strict=True):
        _check.logits(student, "CAMKDLoss")
        _check.same_shape(student, teacher, where="CAMKDLoss", hint="all need the same classes")
    weights = confidence_weights([teacher.detach() for teacher in teachers], target, kept=kept)
    divergences = [
        tempered_divergence(student, teacher, temperature=temperature, kept=kept)
        for student, teacher in zip(students, teachers, strict=True)
    ]
    values = (weights * torch.stack(divergences)).sum(0)
    values = values / len(teachers) if variant == "author" else values
    return values if kept is None else values.masked_fill(~kept, 0.0)


class CAMKDLoss(Loss):
    """KD from several teachers by their confidence. See :func:`confident_divergence`.

    With an :class:`~tutelage.EnsembleTeacher` of named members:
    ``Term(CAMKDLoss(), at=[(None, "first"), (None, "second")])``. The paper adds a regression of
    the last features with the weights that the student's projected features earn under each
    teacher's classifier, which is not part of this. A mean over positions, whatever the batch;
    about constant in C, as KD is.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        variant: ``"paper"``, or ``"author"``, smaller by the number of teachers.
        ignore_index: Class index that drops a position, where class indices are given.

    Raises:
        InputError: An option is outside its range.

    >>> CAMKDLoss()
    CAMKDLoss(temperature=4.0, variant='paper', ignore_index=-100)
    """

    name = "ca_mkd"
    paper = "2201.00007"
    needs_target = True
    takes_layers = True

    temperature: float | Tensor
    variant: str
    ignore_index: int

    def __init__(
        self,
        *,
        temperature: float | Schedule = 4.0,
        variant: str = "paper",
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        self._hyper("temperature", temperature, _check.positive)
        self.variant = _check.one_of(variant, VARIANTS, "CAMKDLoss.variant")
        self.ignore_index = ignore_index

    def forward(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor] | None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Return the mean over the positions that ``target`` does not drop, in nats."""
        if teacher is None:
            raise _check.missing("CAMKDLoss", "the logits of each teacher", "add an ensemble")
        target = _check.present(
            target, "CAMKDLoss", "the target", "for unlabelled data average KDLoss over teachers"
        )
        kept = kept_positions(student[0], target, self.ignore_index) if len(student) else None
        values = confident_divergence(
            student,
            teacher,
            target,
            temperature=self._value("temperature"),
            variant=self.variant,
            kept=kept,
        )
        return mean_of_kept(values, kept)
