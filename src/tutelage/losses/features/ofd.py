"""Overhaul of feature distillation (Heo et al., ICCV 2019, 1904.01866)."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_maps

VARIANTS = ("author", "mean")
_RARE = 1e-3  # a channel that is negative less often than this has no mean to speak of


def margin_from_batch_norm(
    weight: Float[Tensor, "C"], bias: Float[Tensor, "C"]
) -> Float[Tensor, "C"]:
    r"""Return the mean negative response of each channel behind a batch norm.

    .. math:: m_c = \mathrm{E}[x \mid x < 0] = \beta - \sigma
        \frac{\varphi(\beta / \sigma)}{\Phi(-\beta / \sigma)}, \qquad
        x \sim \mathcal{N}(\beta, \sigma), \ \sigma = |\gamma|

    and :math:`-3 \sigma` where x is negative with a probability of at most 0.001. Equation 4.

    Args:
        weight: :math:`\gamma` of the batch norm.
        bias: :math:`\beta`.

    Half of the standard normal lies below 0, at :math:`-\sqrt{2 / \pi}` on average:

    >>> margin_from_batch_norm(torch.ones(1), torch.zeros(1))
    tensor([-0.7979])
    """
    sigma, beta = widen(weight.detach()).abs(), widen(bias.detach())
    z = beta / sigma.clamp_min(torch.finfo(sigma.dtype).tiny)
    negative = torch.special.ndtr(-z)
    density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
    mean = beta - sigma * density / negative.clamp_min(_RARE)
    return torch.where(negative > _RARE, mean, -3 * sigma)


def partial_distance(
    student: Float[Tensor, "B C H W"],
    teacher: Float[Tensor, "B C H W"],
    margin: Float[Tensor, "C"],
    *,
    variant: str = "author",
) -> Float[Tensor, "B"]:
    r"""Measure the squared distance from what the teacher passes on, per sample.

    .. math:: \sum_i (s_i - t'_i)^2 \, [s_i > t'_i \ \mathrm{or}\ t_i > 0], \qquad
        t' = \max(t, m_c)

    on features before the ReLU: where the teacher is negative, which its ReLU hides, the student
    only has to be lower. Equations 2 and 5.

    Args:
        student: ``[B, C, H, W]``, in the teacher's shape.
        teacher: ``[B, C, H, W]``, what its batch norm gives.
        margin: m of each channel, at most 0, of :func:`margin_from_batch_norm`.
        variant: ``"author"`` sums over a sample's features, so that its weight depends on the
            layer (the released scripts have 1/1000 for CIFAR and 1/10000 for ImageNet, and halve
            it at each layer from the last one back). ``"mean"`` is smaller by their number.

    Raises:
        ShapeError: The shapes differ, or there is not one margin for each channel.

    >>> student = torch.tensor([-5.0, 0.0, 3.0]).view(1, 1, 1, 3)
    >>> teacher = torch.tensor([-4.0, -4.0, 1.0]).view(1, 1, 1, 3)
    >>> partial_distance(student, teacher, torch.tensor([-1.0]))
    tensor([5.])
    """
    same_maps(student, teacher, "OFDLoss")
    if margin.shape != teacher.shape[1:2]:
        raise ShapeError(
            f"OFDLoss: expected a margin for each channel of the teacher {_check.shape(teacher)}, "
            f"found {_check.shape(margin)}; borrow the batch norm whose output is tapped"
        )
    s, t = widen(student), widen(teacher)
    shown = torch.maximum(t, margin.to(t.dtype).view(-1, 1, 1))
    counts = (s > shown) | (t > 0) | s.isnan() | t.isnan()
    squares = (s - shown).square().masked_fill(~counts, 0.0)
    return squares.mean((1, 2, 3)) if variant == "mean" else squares.sum((1, 2, 3))


class OFDLoss(FeatureLoss):
    """Partial distance from the teacher's pre-activations. See :func:`partial_distance`.

    It borrows the batch norm in front of the teacher's ReLU, and the tapped tensor of the teacher
    is the output of that batch norm, before any activation.

    Args:
        variant: ``"author"`` or ``"mean"``.

    >>> loss = OFDLoss()
    >>> loss.borrow(nn.BatchNorm2d(2))
    >>> loss.margin
    tensor([-0.7979, -0.7979])
    """

    name = "ofd"
    paper = "1904.01866"
    projector = "conv"
    projector_options: ClassVar[Mapping[str, Any]] = {"bias": False, "norm": True}
    borrows = "the teacher's batch norm in front of its ReLU"

    margin: Tensor | None
    variant: str

    def __init__(self, *, variant: str = "author") -> None:
        super().__init__()
        self.variant = _check.one_of(variant, VARIANTS, "OFDLoss.variant")
        self.register_buffer("margin", None, persistent=False)

    @property
    def has_borrowed(self) -> bool:
        """Whether it knows the margins."""
        return self.margin is not None

    def borrow(self, module: nn.Module) -> None:
        """Compute the margins from the batch norm whose output is the teacher's tensor.

        Raises:
            InputError: It is no batch norm with weight and bias.
        """
        if not isinstance(module, _BatchNorm) or not module.affine:
            raise InputError(
                f"OFDLoss: expected {self.borrows}, with weight and bias, found "
                f"{type(module).__name__}; name the batch norm, borrow='layer3.1.bn2'"
            )
        self.margin = margin_from_batch_norm(module.weight, module.bias)

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, in squared features."""
        if self.margin is None:
            raise InputError(
                f"OFDLoss: expected to borrow {self.borrows}, found none; add "
                f"borrow='layer3.1.bn2' to the Term, or call borrow(module)"
            )
        return partial_distance(student, teacher, self.margin, variant=self.variant)
