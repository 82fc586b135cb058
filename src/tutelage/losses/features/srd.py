"""A simple recipe (Miles and Mikolajczyk, Role of the Projector, AAAI 2024, 2303.11098)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.features.layout import same_features
from tutelage.losses.relations.base import RelationLoss
from tutelage.signals import pooled

EPS = 1e-4  # of the released code, added to the variances of the batch


def log_sum_distance(
    student: Float[Tensor, "B D"], teacher: Float[Tensor, "B D"], *, power: float = 4.0
) -> Float[Tensor, ""]:
    r"""Measure, on a logarithmic scale, how far standardised features are from each other.

    .. math:: \log \sum_{b,d} |\mathrm{BN}(s)_{bd} - \mathrm{BN}(t)_{bd}|^\alpha, \qquad
        \mathrm{BN}(f) = \frac{f - \mu_d}{\sqrt{\sigma_d^2 + 10^{-4}}}

    with mean and (biased) variance of each feature over the batch. The logarithm keeps the
    gradient's size as the distance shrinks; it has no lower bound, so that equal features cost
    the logarithm of the smallest number, without gradient. Doubling the batch or the width adds
    log 2.

    Args:
        student: ``[B, D]``, of at least two samples: one alone has nothing to differ from.
        teacher: ``[B, D]``.
        power: :math:`\alpha` of at least 1; the paper has 4.

    Raises:
        ShapeError: The shapes differ.

    >>> feature = torch.tensor([[1.0], [-1.0]])
    >>> log_sum_distance(feature, -feature)  # log(2 * 2 ** 4), less what 1e-4 takes
    tensor(3.4655)
    """
    same_features(student, teacher, "SRDLoss")
    s, t = (_standardised(widen(feature)) for feature in (student, teacher))
    total = (s - t).abs().pow(power).sum()
    return total.clamp_min(torch.finfo(total.dtype).tiny).log()


class SRDLoss(RelationLoss):
    r"""Log-sum distance of standardised features. See :func:`log_sum_distance`.

    Maps ``[B, D, H, W]`` and tokens ``[B, N, D]`` are pooled first.

    Args:
        power: :math:`\alpha` of at least 1.
        gather: Whether to standardise over the samples of all processes.

    >>> SRDLoss()
    SRDLoss(power=4.0, gather=True)
    """

    name = "srd"
    paper = "2303.11098"
    projector = "linear"
    projector_options: ClassVar[Mapping[str, Any]] = {"pool": True}

    power: float

    def __init__(self, *, power: float = 4.0, gather: bool = True) -> None:
        super().__init__(gather=gather)
        self.power = _check.at_least_one(power, "SRDLoss.power")

    def relate(
        self, student: Float[Tensor, "B *D"], teacher: Float[Tensor, "B *E"]
    ) -> Float[Tensor, ""]:
        """Return the loss of the batch, without unit."""
        return log_sum_distance(pooled(student), pooled(teacher), power=self.power)


def _standardised(feature: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    centred = feature - feature.mean(0)
    return centred / (centred.square().mean(0) + EPS).sqrt()
