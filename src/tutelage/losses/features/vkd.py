"""Orthogonal projections and normalised teachers (Miles et al., VkD, CVPR 2024, 2403.06213)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_features
from tutelage.losses.gather import gathered
from tutelage.signals import pooled

NORMALISE = ("layer", "whiten")
EPS = 1e-5


def normalised_distance(
    student: Float[Tensor, "B *D"], teacher: Float[Tensor, "B *D"], *, normalise: str = "layer"
) -> Float[Tensor, "B"]:
    r"""Measure how far the projected student is from the normalised teacher, per sample.

    .. math:: \frac{1}{D} \sum_d h\big(s_d - N(t)_d\big), \qquad
        h(x) = \begin{cases} x^2 / 2 & |x| < 1 \\ |x| - 1/2 & \mathrm{else} \end{cases}

    for pooled features, where N is the layer norm without weights of each sample (eps 1e-5), or
    whitens the batch. The mean over D makes the value independent of the width.

    Args:
        student: Vectors ``[B, D]``, tokens ``[B, N, D]`` or maps ``[B, D, H, W]``, projected to
            the teacher's width: in the paper by an orthonormal map, which cannot shrink some
            features in favour of others.
        teacher: Any of them, of the same D.
        normalise: ``"layer"`` as for classification; ``"whiten"`` as for generation: then features
            of the batch get the covariance 1, which asks for more samples than D and makes the
            value depend on the batch.

    Raises:
        ShapeError: The batches or widths differ.

    >>> teacher = torch.tensor([[3.0, 5.0]])  # -1 and 1, normalised
    >>> normalised_distance(torch.tensor([[0.0, 3.0]]), teacher)
    tensor([1.])
    """
    s, t = (pooled(widen(f)) if f.ndim > 1 else f for f in (student, teacher))
    same_features(s, t, "VkDLoss")
    target = _whitened(t) if normalise == "whiten" else F.layer_norm(t, t.shape[1:], eps=EPS)
    return F.smooth_l1_loss(s, target, reduction="none").mean(1)


class VkDLoss(FeatureLoss):
    """Smooth distance from the normalised teacher. See :func:`normalised_distance`.

    Args:
        normalise: ``"layer"`` or ``"whiten"``; the latter over the samples of all processes.

    >>> VkDLoss()
    VkDLoss(normalise='layer')
    """

    name = "vkd"
    paper = "2403.06213"
    projector = "orthogonal"
    projector_options: ClassVar[Mapping[str, Any]] = {"pool": True}

    normalise: str

    def __init__(self, *, normalise: str = "layer") -> None:
        super().__init__()
        self.normalise = _check.one_of(normalise, NORMALISE, "VkDLoss.normalise")

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, without unit."""
        return normalised_distance(student, teacher, normalise=self.normalise)


def _whitened(teacher: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    """Return ``(t - mean) cov^(-1/2)``, with the statistics of all processes."""
    everyone = gathered(teacher)
    mean = everyone.mean(0)
    centred = everyone - mean
    with torch.autocast(teacher.device.type, enabled=False):
        covariance = centred.mT @ centred / max(len(everyone) - 1, 1)
        values, axes = torch.linalg.eigh(covariance)
        scale = (values.clamp_min(0) + EPS).rsqrt()
        whitened: Tensor = (teacher - mean) @ (axes * scale) @ axes.mT
    return whitened
