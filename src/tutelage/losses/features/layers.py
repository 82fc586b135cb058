"""Hints at several layers (in the manner of FitNets, 1412.6550), with a weight for each."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_features, same_layers


def layers_distance(
    student: Sequence[Float[Tensor, "B *D"]],
    teacher: Sequence[Float[Tensor, "B *D"]],
    *,
    weights: Sequence[float] | None = None,
    power: float = 2,
) -> Float[Tensor, "B"]:
    r"""Measure the distance between the features of each sample at several layers.

    .. math:: \sum_l w_l \frac{1}{|D_l|} \sum_d |s_{ld} - t_{ld}|^p

    The mean over a layer's features makes layers of all sizes count alike.

    Args:
        student: Features ``[B, ...]`` of each layer, in the teacher's shapes.
        teacher: Features of the same shapes.
        weights: w of each layer, at least 0; ``None`` is 1 each.
        power: p, any number of at least 1 and not only 2 (squares) and 1 (absolute differences).
            No root is taken.

    Raises:
        ShapeError: The number of layers, the shapes of a layer, or the number of weights differ.

    >>> student, teacher = [torch.zeros(1, 2), torch.zeros(1, 3)], [torch.ones(1, 2)] * 2
    >>> layers_distance(student[:1], teacher[:1], weights=[0.7])
    tensor([0.7000])
    """
    same_layers(student, teacher, "LayersLoss")
    weights = [1.0] * len(student) if weights is None else weights
    if len(weights) != len(student):
        raise ShapeError(
            f"LayersLoss: expected a weight for each of {len(student)} layers, found "
            f"{len(weights)}; give weights=({', '.join(['1.0'] * len(student))})"
        )
    values = []
    for layer, (s, t, w) in enumerate(zip(student, teacher, weights, strict=True)):
        same_features(s, t, f"LayersLoss, layer {layer}")
        # Squares and magnitudes in one kernel each, which keeps no difference for its backward.
        if power == 2:
            powers = F.mse_loss(widen(s), widen(t), reduction="none")
        else:
            powers = F.l1_loss(widen(s), widen(t), reduction="none").pow(power)
        values.append(w * powers.mean(tuple(range(1, s.ndim))))
    return torch.stack(values).sum(0)


class LayersLoss(FeatureLoss):
    """Weighted sum of distances at several layers. See :func:`layers_distance`.

    Args:
        weights: One number of at least 0 for each layer, not all of them 0; ``None`` is 1 each.
        power: p, any number of at least 1.

    >>> LayersLoss(weights=(0.7, 0.3), power=1)
    LayersLoss(weights=(0.7, 0.3), power=1.0)
    """

    name = "layers"
    paper = "1412.6550"
    takes_layers = True

    weights: tuple[float, ...] | None
    power: float

    def __init__(self, *, weights: Sequence[float] | None = None, power: float = 2) -> None:
        super().__init__()
        self.weights = None
        if weights is not None:
            self.weights = tuple(
                _check.non_negative(weight, f"LayersLoss.weights[{layer}]")
                for layer, weight in enumerate(weights)
            )
            if not any(self.weights):
                raise InputError(
                    f"LayersLoss.weights: expected one above 0, found {list(weights)}; give a "
                    "weight for each layer, or leave weights out"
                )
        # Below 1 the gradient at equality would be infinite.
        self.power = _check.at_least_one(power, "LayersLoss.power")

    def values(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Float[Tensor, "B"]:
        """Return one value per sample, in features to the power p."""
        return layers_distance(student, teacher, weights=self.weights, power=self.power)
