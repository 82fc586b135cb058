"""Information theoretic representation distillation (Miles, Rodriguez, Mikolajczyk, 2112.00459)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import InputError
from tutelage.losses.relations.base import RelationLoss
from tutelage.losses.relations.geometry import in_range, same_width, unit


def correlation(
    student: Float[Tensor, "B D"], teacher: Float[Tensor, "B D"], *, alpha: float = 1.01
) -> Float[Tensor, ""]:
    r"""Measure how far each feature of the student is from its teacher's over the batch, in bits.

    .. math:: \log_2 \sum_d | c_d - 1 |^{2 \alpha}, \qquad
        c_d = \frac{1}{B} \sum_b \hat s_{bd} \hat t_{bd}

    where the hat takes away the batch's mean and divides by its unbiased standard deviation.
    Since c divides by B and not by B - 1, equal features have :math:`c_d = 1 - 1 / B` and the
    least value is :math:`\log_2 D - 2 \alpha \log_2 B`. A feature that is constant over the
    batch has :math:`c_d = 0` and no gradient.

    Args:
        student: Vectors ``[B, D]``.
        teacher: Vectors ``[B, D]``.
        alpha: :math:`\alpha` of at least 0.5; 1.01 in the paper, 1.5 for binary networks.
    """
    s, t = _standing_out(student), _standing_out(teacher)
    c = (s * t).sum(0) * ((len(s) - 1) / len(s))
    return (c - 1).abs().pow(2 * alpha).sum().log2()


def mutual(student: Float[Tensor, "B D"], teacher: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    r"""Measure what the student's similarities say beyond what they share with the teacher's.

    .. math:: \sum_{ij} (G^s_{ij})^2 - \sum_{ij} (G^{st}_{ij})^2, \qquad
        G^s = \frac{K^s}{\mathrm{tr} K^s}, \quad
        G^{st} = \frac{K^s \circ K^t}{\mathrm{tr}(K^s \circ K^t)}

    with the cosines of every two samples as K. It is the difference of two Renyi entropies of
    order 2 without their logarithms, as in the released code; without unit, from 0 (the teacher's
    samples coincide where the student's do, up to sign) to 1.

    Args:
        student: Vectors ``[B, D]``.
        teacher: Vectors ``[B, E]``.
    """
    s, t = unit(student), unit(teacher)
    k_s = s @ s.mT
    return _of_trace_one(k_s).square().sum() - _of_trace_one(k_s * (t @ t.mT)).square().sum()


class ITRDLoss(RelationLoss):
    r"""Weighted :func:`correlation` and mutual part within a batch.

    .. math:: \beta_c \, \mathrm{correlation} + \beta_m \, \mathrm{mutual}

    Maps ``[B, C, H, W]`` and tokens ``[B, N, D]`` are averaged to vectors first; the student needs
    the teacher's width (``via="paper"`` is the linear map of the paper). The value may be
    negative and has no lower bound that holds for all batches: weigh it by its gradient.

    **Batch:** the correlation of independent features does not change (6.1, 6.0 and 6.0 bits at
    width 64 and B = 16, 64 and 256), but its least value falls as :math:`-2 \alpha \log_2 B`; the
    mutual part hardly does (0.012, 0.015, 0.016). **Width:** the correlation grows as
    :math:`\log_2 D`. **Resolution:** none after the mean.

    Args:
        correlation_weight: :math:`\beta_c` of at least 0.
        mutual_weight: :math:`\beta_m` of at least 0.
        alpha: Exponent of the correlation, at least 0.5.
        gather: Whether to compare the samples of all processes.

    >>> ITRDLoss()
    ITRDLoss(correlation_weight=2.0, mutual_weight=1.0, alpha=1.01, gather=True)
    """

    name = "itrd"
    paper = "2112.00459"
    pools = True
    projector = "linear"
    projector_options: ClassVar[Mapping[str, Any]] = {"pool": True}

    correlation_weight: float
    mutual_weight: float
    alpha: float

    def __init__(
        self,
        *,
        correlation_weight: float = 2.0,
        mutual_weight: float = 1.0,
        alpha: float = 1.01,
        gather: bool = True,
    ) -> None:
        super().__init__(gather=gather)
        weights = {"correlation_weight": correlation_weight, "mutual_weight": mutual_weight}
        for name, weight in weights.items():
            setattr(self, name, _check.non_negative(weight, f"ITRDLoss.{name}"))
        if not any(weights.values()):
            raise InputError("ITRDLoss: expected a weight above 0, found 0 for both parts")
        # Below 1/2 the gradient of a perfect correlation would be infinite.
        if _check.positive(alpha, "ITRDLoss.alpha") < 0.5:
            raise InputError(f"ITRDLoss.alpha: expected a number of at least 0.5, found {alpha!r}")
        self.alpha = alpha

    def relate(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the weighted sum of both parts, the first in bits."""
        same_width(student, teacher, "ITRDLoss")
        values = []
        if self.correlation_weight:
            part = correlation(student, teacher, alpha=self.alpha)
            values.append(self.correlation_weight * part)
        if self.mutual_weight:
            values.append(self.mutual_weight * mutual(student, teacher))
        return torch.stack(values).sum()


def _standing_out(rows: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """Return every column less its mean and at length 1; a constant column is 0."""
    rows = in_range(rows)
    centred = rows - rows.mean(0)
    size = torch.linalg.vector_norm(rows.detach(), dim=0)
    left = torch.linalg.vector_norm(centred.detach(), dim=0)
    # What rounding leaves of a constant column is noise, and its gradient one over it.
    constant = left <= 4 * torch.finfo(rows.dtype).eps * size
    return unit(centred.masked_fill(constant, 0).mT).mT


def _of_trace_one(kernel: Float[Tensor, "B B"]) -> Float[Tensor, "B B"]:
    trace = kernel.diagonal().sum()
    return kernel / trace.masked_fill(trace == 0, 1.0)
