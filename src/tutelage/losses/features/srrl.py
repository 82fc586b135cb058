"""Softmax regression representation learning (Yang et al., ICLR 2021, openreview ZzwDy_wiWv)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.signals import pooled


def feature_matching(
    student: Float[Tensor, "B C *P"], teacher: Float[Tensor, "B C *Q"]
) -> Float[Tensor, "B"]:
    r"""Measure the squared distance between pooled features, in squared features per channel.

    .. math:: \frac{1}{C} \sum_c (\bar s_c - \bar t_c)^2

    with :math:`\bar s` the mean over positions. Independent of batch size and resolution; the
    paper writes the sum over channels, larger by C.

    Args:
        student: Maps ``[B, C, H, W]``, tokens ``[B, N, C]`` or vectors ``[B, C]``.
        teacher: Features of the same batch and channels.

    Raises:
        ShapeError: Batch or channels differ.

    >>> feature_matching(torch.ones(1, 2, 3, 3), torch.full((1, 2, 4, 4), 3.0))
    tensor([4.])
    """
    f_s, f_t = _both_pooled(student, teacher)
    return (f_s - f_t).square().mean(1)


def softmax_regression(
    student: Float[Tensor, "B C *P"],
    teacher_logits: Float[Tensor, "B K"],
    weight: Float[Tensor, "K C"],
    bias: Float[Tensor, "K"] | None = None,
) -> Float[Tensor, "B"]:
    r"""Measure what the teacher's classifier makes of the student's features, in squared logits.

    .. math:: \frac{1}{K} \sum_k \left( (W \bar s + b)_k - z^t_k \right)^2

    The classifier is a constant, but the gradient flows through it to the student. The mean over
    classes is the released code's; the paper writes the sum, larger by K. Independent of batch size
    and resolution.

    Args:
        student: Maps, tokens or vectors of C channels, as for :func:`feature_matching`.
        teacher_logits: :math:`z^t`.
        weight: W, the teacher's classifier.
        bias: b, if it has one.

    Raises:
        ShapeError: The classifier does not take such features or give such logits.

    >>> softmax_regression(torch.tensor([[3.0]]), torch.tensor([[4.0]]), torch.tensor([[2.0]]))
    tensor([4.])
    """
    logits = _classified(pooled(widen(student)), weight, bias)
    _check.same_shape(logits, teacher_logits, where="SRRLLoss", hint="use one batch and classifier")
    return (logits - widen(teacher_logits)).square().mean(1)


class SRRLLoss(FeatureLoss):
    """Distance of pooled features and of the logits the teacher's classifier gives for them.

    The mean over samples of :func:`feature_matching` plus ``weight`` times ``softmax_regression``.
    The teacher's logits are its classifier's of its own pooled map: name the map that the teacher
    averages and classifies.

    Args:
        weight: Weight of the regression, at least 0; 1 in the released code.

    >>> SRRLLoss()
    SRRLLoss(weight=1.0)
    """

    name = "srrl"
    paper = "ZzwDy_wiWv"
    projector = "conv"
    projector_options: ClassVar[Mapping[str, Any]] = {"bias": False, "norm": True, "relu": True}
    borrows = "the teacher's classifier, a linear layer"

    weight: float
    head_weight: Tensor | None
    head_bias: Tensor | None

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = _check.non_negative(weight, "SRRLLoss.weight")
        self.register_buffer("head_weight", None, persistent=False)
        self.register_buffer("head_bias", None, persistent=False)

    @property
    def has_borrowed(self) -> bool:
        """Whether it knows the teacher's classifier."""
        return self.head_weight is not None

    def borrow(self, module: nn.Module) -> None:
        """Copy the teacher's classifier.

        Raises:
            InputError: It is neither a linear layer nor a 1x1 convolution.
        """
        is_head = isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.weight.shape[2:].numel() == 1
        )
        if not is_head:
            raise InputError(
                f"SRRLLoss: expected {self.borrows}, found {type(module).__name__}; name the "
                "teacher's last layer, borrow='fc'"
            )
        assert isinstance(module, nn.Linear | nn.Conv2d)
        self.head_weight = module.weight.detach().flatten(1).clone()
        self.head_bias = None if module.bias is None else module.bias.detach().clone()

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample: squared features plus weighted squared logits."""
        if self.head_weight is None:
            raise InputError(
                f"SRRLLoss: expected to borrow {self.borrows}, found none; add borrow='fc' to the "
                "Term, or call borrow(module)"
            )
        matching = feature_matching(student, teacher)
        z_t = _classified(pooled(widen(teacher)), self.head_weight, self.head_bias)
        regression = softmax_regression(student, z_t, self.head_weight, self.head_bias)
        return matching + self.weight * regression


def _both_pooled(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    if student.ndim not in (2, 3, 4) or teacher.ndim not in (2, 3, 4):
        raise ShapeError(
            f"SRRLLoss: expected features [B, C, H, W], [B, N, C] or [B, C], found student "
            f"{_check.shape(student)} vs teacher {_check.shape(teacher)}; tap other layers"
        )
    f_s, f_t = pooled(widen(student)), pooled(widen(teacher))
    if f_s.shape != f_t.shape:
        raise ShapeError(
            f"SRRLLoss: expected features of one batch and as many channels, found student "
            f'{_check.shape(student)} vs teacher {_check.shape(teacher)}; add via="paper" to the '
            "Term"
        )
    return f_s, f_t


def _classified(
    feature: Float[Tensor, "B C"], weight: Float[Tensor, "K C"], bias: Float[Tensor, "K"] | None
) -> Float[Tensor, "B K"]:
    if feature.shape[1] != weight.shape[1]:
        raise ShapeError(
            f"SRRLLoss: expected features of {weight.shape[1]} channels, as the classifier takes, "
            f"found {feature.shape[1]}; tap the map that the teacher averages and classifies"
        )
    with torch.autocast(feature.device.type, enabled=False):  # it would lower the products
        return F.linear(
            feature, weight.to(feature.dtype), None if bias is None else bias.to(feature.dtype)
        )
