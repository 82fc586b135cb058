"""Mixup (Zhang et al., 2018, 1710.09412) and CutMix (Yun et al., 2019, 1905.04899) of a batch."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage.data.batch import Batch
from tutelage.data.seeds import mix


def mixed(
    batch: Batch, *, num_classes: int, mixup: float | None, cutmix: float | None, key: int
) -> Batch:
    r"""Return the batch with each image mixed with its neighbour, and the labels likewise.

    .. math:: \tilde x_b = \lambda_b x_b + (1 - \lambda_b) x_{b-1}, \qquad
        \tilde y_b = \lambda_b y_b + (1 - \lambda_b) y_{b-1}, \quad
        \lambda_b \sim \mathrm{Beta}(\alpha, \alpha)

    for mixup. CutMix pastes one rectangle of the neighbour, the same place for the whole batch, and
    :math:`1 - \lambda` is its share of the area. Student and teacher see the same mixed images.

    Args:
        batch: Images ``[B, C, H, W]`` with class indices, or with probabilities already.
        num_classes: Width of the labels ``[B, num_classes]`` that come back.
        mixup: :math:`\alpha` above 0, where 1 is uniform; ``None`` for none.
        cutmix: The same for CutMix; where both are given, each batch draws one of the two.
        key: What the draws depend on, beside the size of the batch.
    """
    draws = np.random.default_rng(mix("mixing", key))
    target = batch.target
    soft = target if target.is_floating_point() else F.one_hot(target, num_classes).float()
    use_cutmix = cutmix is not None and (mixup is None or bool(draws.integers(2)))
    alpha = cutmix if use_cutmix else mixup
    if alpha is None or not len(batch):
        return replace(batch, target=soft)
    if use_cutmix:
        inputs, share = _pasted(batch.inputs, float(draws.beta(alpha, alpha)), draws)
        return replace(batch, inputs=inputs, target=share * soft + (1 - share) * soft.roll(1, 0))
    weight = torch.from_numpy(draws.beta(alpha, alpha, len(batch))).to(batch.inputs)
    return replace(
        batch,
        inputs=_lerp(batch.inputs, weight),
        target=_lerp(soft, weight.to(soft)),
    )


def _lerp(tensor: Float[Tensor, "B *D"], weight: Float[Tensor, "B"]) -> Float[Tensor, "B *D"]:
    return torch.lerp(tensor.roll(1, 0), tensor, weight.view(-1, *[1] * (tensor.ndim - 1)))


def _pasted(
    images: Float[Tensor, "B C H W"], weight: float, draws: np.random.Generator
) -> tuple[Float[Tensor, "B C H W"], float]:
    """Return the images with a rectangle of their neighbours, and their own share of the area."""
    height, width = images.shape[-2:]
    side = (1 - weight) ** 0.5
    rows, columns = round(height * side), round(width * side)
    top = int(draws.integers(height - rows + 1))
    left = int(draws.integers(width - columns + 1))
    result = images.clone()
    box = (..., slice(top, top + rows), slice(left, left + columns))
    result[box] = images.roll(1, 0)[box]
    return result, 1 - rows * columns / (height * width)
