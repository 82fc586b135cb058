"""Layer normalisation of each vector (Ba, Kiros and Hinton, 2016, 1607.06450)."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.normalizers.base import Normalizer


class LayerNormalizer(Normalizer):
    r"""Give each vector of features mean 0 and variance 1, without learned scale or shift.

    .. math:: \hat t = \frac{t - \mathrm{mean}(t)}{\sqrt{\mathrm{var}(t) + \epsilon}}

    The vector is that of a token ``[B, N, D]``, a sample ``[B, D]`` or a pixel ``[B, C, H, W]``.
    Samples are not mixed, so that the batch does not count.

    Args:
        eps: :math:`\epsilon`, above 0.

    >>> import torch
    >>> LayerNormalizer(eps=1e-12)(torch.tensor([[1.0, 3.0]]))
    tensor([[-1.,  1.]])
    """

    name: ClassVar[str] = "layer_norm"

    def __init__(self, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = _check.positive(eps, "LayerNormalizer.eps")

    def forward(self, teacher: Tensor) -> Tensor:
        """Return ``teacher`` with each vector normalised."""
        features = teacher.movedim(1, -1) if teacher.ndim == 4 else teacher
        normalised = F.layer_norm(features, features.shape[-1:], eps=self.eps)
        return normalised.movedim(-1, 1) if teacher.ndim == 4 else normalised

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"eps={self.eps}"
