"""Contrast within the batch, InfoNCE (van den Oord, Li and Vinyals, 2018, 1807.03748)."""

from collections.abc import Mapping
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule
from tutelage.losses.relations.base import RelationLoss
from tutelage.losses.relations.geometry import same_width, unit


def contrast(
    student: Float[Tensor, "B D"],
    teacher: Float[Tensor, "B D"],
    *,
    temperature: float | Tensor = 0.07,
    symmetric: bool = False,
) -> Float[Tensor, "B"]:
    r"""Measure how hard it is to tell a sample's teacher vector among those of the batch.

    .. math:: \ell_i = -\log \frac{\exp(\cos(s_i, t_i) / T)}{\sum_j \exp(\cos(s_i, t_j) / T)}

    (equation 4, with cosines at a temperature). It is the contrast of CRD (1910.10699, section
    3) with the other samples of the batch as negatives, so that no bank is needed.

    Args:
        student: Vectors ``[B, D]``.
        teacher: Vectors ``[B, D]``.
        temperature: T above 0.
        symmetric: Whether to take the mean with the other direction, the student's vector among
            all students' for each teacher's.

    Returns:
        Nats per sample, from 0 to :math:`\log B + 2 / T`; vectors that tell nothing cost
        :math:`\log B`.

    >>> import torch
    >>> contrast(torch.eye(2), torch.eye(2), temperature=0.5)  # log(1 + exp(-2))
    tensor([0.1269, 0.1269])
    """
    same_width(student, teacher, "InfoNCELoss")
    scores = unit(student) @ unit(teacher).mT / temperature
    forth = -scores.log_softmax(1).diagonal()
    return (forth - scores.log_softmax(0).diagonal()) / 2 if symmetric else forth


class InfoNCELoss(RelationLoss):
    """Contrast with the teacher's vectors of the batch, mean over samples. See :func:`contrast`.

    Maps ``[B, C, H, W]`` and tokens ``[B, N, D]`` are averaged to vectors first. Equal vectors do
    not cost 0: the negatives count too.

    **Batch:** it grows as log B: 4.3, 5.7 and 7.1 nats on independent normal features of width 64
    at B = 16, 64 and 256, where log B is 2.8, 4.2 and 5.5. Few negatives make an easy task, so
    large batches matter more than elsewhere. **Resolution:** none after the mean.

    Args:
        temperature: T above 0, or a schedule from the optimiser step to it.
        symmetric: Whether both directions count.
        gather: Whether the samples of all processes are negatives.

    >>> InfoNCELoss()
    InfoNCELoss(temperature=0.07, symmetric=False, gather=True)
    """

    name = "infonce"
    paper = "1807.03748"
    pools = True
    projector = "linear"
    projector_options: ClassVar[Mapping[str, Any]] = {"pool": True}

    temperature: float | Tensor
    symmetric: bool

    def __init__(
        self,
        *,
        temperature: float | Schedule = 0.07,
        symmetric: bool = False,
        gather: bool = True,
    ) -> None:
        super().__init__(gather=gather)
        self._hyper("temperature", temperature, _check.positive)
        self.symmetric = symmetric

    def relate(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the mean contrast of a sample, in nats."""
        values = contrast(
            student,
            teacher,
            temperature=self._value("temperature"),
            symmetric=self.symmetric,
        )
        return values.mean()
