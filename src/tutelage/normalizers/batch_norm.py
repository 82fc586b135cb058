"""Standardisation of each feature by moving statistics, as in UNIC (2024, 2408.05088)."""

from typing import ClassVar

import torch
from torch import Tensor

from tutelage import _check
from tutelage.normalizers.base import Normalizer
from tutelage.normalizers.statistics import by_feature, load_unsized, over_processes


class BatchNormalizer(Normalizer):
    r"""Give each feature mean 0 and variance 1 over the samples, without learned scale or shift.

    .. math:: \hat t_c = \frac{t_c - \mu_c}{\sqrt{\sigma^2_c + \epsilon}}, \qquad
        \mu \leftarrow (1 - m) \mu + m\, \mathrm{mean}(t_c), \quad
        \sigma^2 \leftarrow (1 - m) \sigma^2 + m\, \mathrm{var}(t_c)

    The statistics run over samples, tokens and pixels, and over all processes. They start with
    those of the first training batch, move with each one after it and rest in eval mode; before
    any training batch a batch is standardised by its own.

    Args:
        momentum: :math:`m`, the share of the newest batch, above 0 and at most 1; 1 uses each
            batch's own statistics, as BatchNorm does in training. UNIC uses 0.1.
        eps: :math:`\epsilon`, above 0.

    >>> import torch
    >>> BatchNormalizer(eps=1e-12)(torch.tensor([[1.0], [3.0]]))
    tensor([[-1.],
            [ 1.]])
    """

    name: ClassVar[str] = "batch_norm"

    mean: Tensor | None
    variance: Tensor | None

    def __init__(self, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum = _check.fraction(
            _check.positive(momentum, "BatchNormalizer.momentum"), "BatchNormalizer.momentum"
        )
        self.eps = _check.positive(eps, "BatchNormalizer.eps")
        self.register_buffer("mean", None)
        self.register_buffer("variance", None)
        self.register_load_state_dict_pre_hook(load_unsized)  # type: ignore[no-untyped-call]

    def forward(self, teacher: Tensor) -> Tensor:
        """Return ``teacher`` with each feature standardised."""
        rows = by_feature(teacher)
        if self.training or self.mean is None or self.variance is None:
            mean, variance = self._of_batch(rows)
        else:
            mean, variance = self.mean, self.variance
        scale = (variance + self.eps).rsqrt()
        features = (-1, *[1] * (teacher.ndim - 2)) if teacher.ndim == 4 else (-1,)
        return (teacher - mean.to(teacher).view(features)) * scale.to(teacher).view(features)

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"momentum={self.momentum}, eps={self.eps}"

    def _of_batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the statistics to use for a batch, having moved towards it while training."""
        total, count = rows.sum(0), rows.new_tensor(float(len(rows)))
        squares = rows.square().sum(0)
        if self.training:
            total, squares, count = over_processes(total, squares, count)
        mean = total / count.clamp(min=1)
        variance = (squares / count.clamp(min=1) - mean.square()).clamp(min=0)
        if not self.training:
            return mean, variance
        if self.mean is None or self.variance is None:
            self.mean, self.variance = mean, variance
        else:
            self.mean = torch.lerp(self.mean, mean, self.momentum)
            self.variance = torch.lerp(self.variance, variance, self.momentum)
        return self.mean, self.variance
