"""A linear map that keeps lengths: VkD's projector (Miles et al., CVPR 2024, 2403.06213)."""

from typing import Any, ClassVar, Self

from torch import Tensor, nn
from torch.nn.utils import parametrizations

from tutelage.projectors.base import Projector
from tutelage.projectors.pooling import width
from tutelage.signals import pooled


class OrthogonalProjector(Projector):
    """Map the last axis by an orthonormal matrix: ``y = x Q^T``.

    The columns of ``Q`` are orthonormal, or its rows where it narrows, and stay so while it learns.
    From a narrow student to a wide teacher it keeps every length and angle: it can neither blow up
    nor hide a feature of the student.

    Args:
        in_features: Width of the student's tensor: ``[B, D]`` or ``[B, N, D]``.
        out_features: Width of the teacher's tensor.
        pool: Whether to take the mean over tokens ``[B, N, D]`` or pixels ``[B, D, H, W]`` first.

    Raises:
        ShapeError: In ``forward``, if the (pooled) last axis is not ``in_features`` wide.

    >>> import torch
    >>> student = torch.tensor([[3.0, 4.0]])
    >>> OrthogonalProjector(2, 7)(student).norm().round(decimals=4)
    tensor(5., grad_fn=<RoundBackward1>)
    """

    name: ClassVar[str] = "orthogonal"

    def __init__(self, in_features: int, out_features: int, *, pool: bool = False) -> None:
        super().__init__()
        self.linear = parametrizations.orthogonal(nn.Linear(in_features, out_features, bias=False))
        self.in_features = in_features
        self.pool = pool

    @classmethod
    def between(cls, student: Tensor, teacher: Tensor, **options: Any) -> Self:
        """Return the projector from one width to the other."""
        return cls(width(student), width(teacher), **options)

    def forward(self, student: Tensor) -> Tensor:
        """Return ``[..., out_features]``."""
        found = pooled(student) if self.pool else student
        if found.ndim < 2 or found.shape[-1] != self.in_features:
            raise self._mismatch(
                f"[..., {self.in_features}]",
                student,
                "set in_features to the student's width, and pool=True for a map",
            )
        projected: Tensor = self.linear(found)
        return projected

    def extra_repr(self) -> str:
        """Show whether it pools."""
        return f"pool={self.pool}"
