"""Distillation with the reused teacher classifier (Chen et al., SimKD, CVPR 2022, 2203.14001)."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_features


def last_map_distance(
    student: Float[Tensor, "B C H W"], teacher: Float[Tensor, "B C H2 W2"], *, resize: bool = True
) -> Float[Tensor, "B"]:
    r"""Measure the squared distance between the maps that the classifier reads, per sample.

    .. math:: \frac{1}{C H W} \sum_{chw} (s_{chw} - t_{chw})^2

    in squared features; independent of batch size, resolution and channel count.

    Args:
        student: The projected map, or vectors ``[B, C]`` after the pooling.
        teacher: The map that the teacher averages and classifies, at least as large.
        resize: Whether a teacher's map that is larger than the student's is averaged down to its
            size first, as in the released code.

    Raises:
        ShapeError: Batch or channels differ, or the student's map is the larger one.

    >>> import torch
    >>> last_map_distance(torch.zeros(1, 2, 2, 2), torch.full((1, 2, 4, 4), 3.0))
    tensor([9.])
    """
    teacher = widen(teacher)
    if resize and student.ndim == teacher.ndim == 4 and student.shape[2:] != teacher.shape[2:]:
        teacher = _shrunk(teacher, student)
    same_features(student, teacher, "SimKDLoss")
    error = F.mse_loss(widen(student), teacher, reduction="none")
    return error.mean(tuple(range(1, error.ndim)))


class SimKDLoss(FeatureLoss):
    """Squared distance of the last maps, mean over samples. See :func:`last_map_distance`.

    The whole loss of its paper: no labels and no logits beside it. What is then evaluated and
    deployed is not the student but the student, its projector and the *teacher's* classifier:
    :class:`~tutelage.teachers.ReusedHead`, which is larger than the student alone.

    Args:
        resize: Whether a larger map of the teacher is averaged down to the student's.

    >>> SimKDLoss()
    SimKDLoss(resize=True)
    """

    name = "simkd"
    paper = "2203.14001"
    projector = "bottleneck"

    resize: bool

    def __init__(self, *, resize: bool = True) -> None:
        super().__init__()
        self.resize = resize

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, in squared features."""
        return last_map_distance(student, teacher, resize=self.resize)


def _shrunk(teacher: Tensor, student: Tensor) -> Tensor:
    size = student.shape[2], student.shape[3]
    if size[0] > teacher.shape[2] or size[1] > teacher.shape[3]:
        raise ShapeError(
            f"SimKDLoss: expected a map of the student no larger than the teacher's, found student "
            f'{_check.shape(student)} vs teacher {_check.shape(teacher)}; add via="paper" to the '
            "Term"
        )
    return F.adaptive_avg_pool2d(teacher, size)
