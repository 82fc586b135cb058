"""Neuron selectivity transfer (Huang and Wang, 2017, 1707.01219)."""

from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import by_channel, same_positions
from tutelage.losses.features.products import products
from tutelage.losses.features.unit import unit


def selectivity_distance(
    student: Tensor, teacher: Tensor, *, degree: int = 2, offset: float = 0.0
) -> Float[Tensor, "B"]:
    r"""Measure how differently the channels of student and teacher select positions, per sample.

    The squared maximum mean discrepancy between the two sets of channels, with each channel's map
    at unit length (equation 5):

    .. math:: \frac{1}{C_t^2} \sum_{i,i'} k(t_i, t_{i'}) + \frac{1}{C_s^2} \sum_{j,j'}
        k(s_j, s_{j'}) - \frac{2}{C_s C_t} \sum_{i,j} k(t_i, s_j), \qquad
        k(a, b) = (a \cdot b + c)^d

    At d = 2 and c = 0 that is :math:`\| M^s - M^t \|_F^2` with :math:`M = \frac{1}{C} \sum_i
    f_i f_i^\top` over P positions, which is what is computed where :math:`P \le C`. Either way the
    largest tensor has :math:`B \min(C, P)^2` numbers, not :math:`B C^2 P`. It lies between 0 and 2
    whatever the batch, the channels and the resolution; for unrelated channels k is about 1 / P.

    Args:
        student: Maps ``[B, C, H, W]`` or tokens ``[B, N, D]``.
        teacher: The same layout, batch and positions; the channels may differ.
        degree: d, a whole number of at least 1; the paper's best is 2.
        offset: c of at least 0; the paper has 0.

    Raises:
        ShapeError: Layout, batch or positions differ.

    Neither the order nor the size of the channels counts:

    >>> import torch
    >>> feature = torch.eye(4).view(1, 4, 2, 2)
    >>> selectivity_distance(feature, 3 * feature.flip(1))
    tensor([0.])
    """
    same_positions(student, teacher, "NSTLoss")
    s, t = (unit(by_channel(widen(feature))) for feature in (student, teacher))
    if degree == 2 and offset == 0 and s.shape[2] <= min(s.shape[1], t.shape[1]):
        m_s, m_t = (products(f.mT, f.mT) / f.shape[1] for f in (s, t))
        return (m_s - m_t).square().sum((1, 2))
    st, ss, tt = ((products(a, b) + offset).pow(degree).mean((1, 2)) for a, b in _pairs(s, t))
    return tt + ss - 2 * st


class NSTLoss(FeatureLoss):
    """Distance between what the channels select. See :func:`selectivity_distance`.

    Args:
        degree: d, a whole number of at least 1.
        offset: c of at least 0.

    >>> NSTLoss()
    NSTLoss(degree=2, offset=0.0)
    """

    name = "nst"
    paper = "1707.01219"

    degree: int
    offset: float

    def __init__(self, *, degree: int = 2, offset: float = 0.0) -> None:
        super().__init__()
        self.degree = _check.count(degree, "NSTLoss.degree")
        self.offset = _check.non_negative(offset, "NSTLoss.offset")

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, without unit."""
        return selectivity_distance(student, teacher, degree=self.degree, offset=self.offset)


def _pairs(s: Tensor, t: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
    return (s, t), (s, s), (t, t)
