"""Variational information distillation (Ahn et al., CVPR 2019, 1904.05835)."""

import math
from collections.abc import Callable
from typing import Any, Self, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parameter import UninitializedParameter, is_lazy

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_features


def gaussian_surprise(
    student: Float[Tensor, "B *D"],
    teacher: Float[Tensor, "B *D"],
    log_scale: Float[Tensor, "C"],
    *,
    eps: float = 1e-5,
) -> Float[Tensor, "B"]:
    r"""Measure how surprising the teacher's features are, told by the student's, in nats.

    .. math:: \frac{1}{|D|} \sum_{d} \tfrac12 \left[ \frac{(\mu_d - t_d)^2}{\sigma_{c(d)}^2}
        + \log \sigma_{c(d)}^2 \right], \qquad
        \sigma_c^2 = \log(1 + e^{\alpha_c}) + \epsilon

    The mean over elements of the negative log-likelihood of a Gaussian whose mean is the student's
    projected feature and whose variance is learned, one for each channel, without the constant
    :math:`\tfrac12 \log 2\pi`. It falls below 0 where the variance falls below 1. Independent of
    batch size, resolution and channel count.

    Args:
        student: :math:`\mu`, features in the teacher's shape: maps ``[B, C, H, W]``, vectors
            ``[B, C]``, or tokens ``[B, N, C]``.
        teacher: t, features of the same shape.
        log_scale: :math:`\alpha`, one number for each channel; gets a gradient.
        eps: :math:`\epsilon` above 0, the least variance.

    Raises:
        ShapeError: The shapes differ, or ``log_scale`` has not one number for each channel.

    >>> import torch
    >>> one = torch.tensor([math.log(math.e - 1)])  # a variance of 1
    >>> gaussian_surprise(torch.tensor([[3.0]]), torch.tensor([[1.0]]), one, eps=1e-12)
    tensor([2.])
    """
    same_features(student, teacher, "VIDLoss")
    axis = _channel_axis(student)
    if log_scale.shape != student.shape[axis : axis + 1]:
        raise ShapeError(
            f"VIDLoss: expected features of {len(log_scale)} channels on axis {axis}, found "
            f"{_check.shape(student)}; use one VIDLoss for each pair of layers"
        )
    variance = F.softplus(widen(log_scale)) + eps
    variance = variance.reshape([-1 if i == axis else 1 for i in range(student.ndim)])
    error = (widen(student) - widen(teacher)).square()
    surprise = (error / variance + variance.log()) / 2
    return surprise.mean(tuple(range(1, surprise.ndim)))


class VIDLoss(FeatureLoss):
    """Negative Gaussian log-likelihood, mean over samples. See :func:`gaussian_surprise`.

    It owns ``log_scale``, one number for each channel of the teacher, which the optimiser must
    hold. Until :meth:`size_for` has seen one pair of tensors, or where ``channels`` is not stated,
    it is an uninitialised parameter, which an optimiser may already own.

    Args:
        channels: Channels of the teacher's features; ``None`` leaves them to :meth:`size_for`.
        init_variance: Every channel's variance at the start, above ``eps``.
        eps: The least variance, above 0.

    >>> VIDLoss(channels=64)
    VIDLoss(channels=64, init_variance=5.0, eps=1e-05)
    """

    name = "vid"
    paper = "1904.05835"
    projector = "mlp_conv"

    init_variance: float
    eps: float
    log_scale: nn.Parameter

    def __init__(
        self, *, channels: int | None = None, init_variance: float = 5.0, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.eps = _check.positive(eps, "VIDLoss.eps")
        self.init_variance = _check.positive(init_variance, "VIDLoss.init_variance")
        _check.positive(init_variance - eps, "VIDLoss.init_variance above eps")
        self.log_scale = cast(nn.Parameter, UninitializedParameter())
        if channels is not None:
            self._become(int(_check.positive(channels, "VIDLoss.channels")))

    @property
    def is_sized(self) -> bool:
        """Whether the number of channels is known."""
        return not isinstance(self.log_scale, UninitializedParameter)  # which compiles

    def size_for(self, student: Tensor, teacher: Tensor) -> None:
        """Learn the number of channels from one pair of tensors; twice is harmless."""
        if not self.is_sized:
            self._become(teacher.shape[_channel_axis(teacher)])

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return the mean over the elements of each sample, in nats."""
        if not self.is_sized:
            raise ShapeError(
                "VIDLoss: expected to be sized before its first forward, found no channels; give "
                "VIDLoss(channels=...), or call size_for(student, teacher)"
            )
        return gaussian_surprise(student, teacher, self.log_scale, eps=self.eps)

    def extra_repr(self) -> str:
        """Show the hyper-parameters."""
        channels = len(self.log_scale) if self.is_sized else None
        return f"channels={channels}, init_variance={self.init_variance}, eps={self.eps}"

    @torch.no_grad()
    def _become(self, channels: int) -> None:
        if isinstance(self.log_scale, UninitializedParameter):
            self.log_scale.materialize((channels,))
        self.log_scale.fill_(math.log(math.expm1(self.init_variance - self.eps)))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        def moved(tensor: Tensor) -> Tensor:
            if not is_lazy(tensor):
                return fn(tensor)
            # Few functions take a tensor without a shape: see where one of no elements ends up.
            probe = fn(torch.empty(0, dtype=tensor.dtype, device=tensor.device))
            return tensor.to(device=probe.device, dtype=probe.dtype)

        return super()._apply(moved, recurse)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        if self.is_sized:  # an uninitialised parameter cannot be detached
            super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **options: Any
    ) -> None:
        stored = state_dict.get(prefix + "log_scale")
        if stored is not None and not self.is_sized:
            self._become(len(stored))
        if stored is not None or self.is_sized:
            super()._load_from_state_dict(state_dict, prefix, *args, **options)


def _channel_axis(feature: Tensor) -> int:
    return 2 if feature.ndim == 3 else 1
