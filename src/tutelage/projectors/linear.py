"""A linear map over the last axis: FitNets' regressor for vectors and tokens (1412.6550)."""

from typing import Any, ClassVar, Self

from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.projectors.base import Projector
from tutelage.projectors.pooling import width
from tutelage.signals import pooled


class LinearProjector(Projector):
    """Map the last axis from ``in_features`` to ``out_features``: ``y = x W^T + b``.

    Args:
        in_features: Width of the student's tensor: ``[B, D]``, ``[B, N, D]`` or any ``[..., D]``.
        out_features: Width of the teacher's tensor.
        bias: Whether to learn ``b``.
        pool: Whether to take the mean over tokens ``[B, N, D]`` or pixels ``[B, D, H, W]`` first.

    Raises:
        ShapeError: In ``forward``, if the last axis is not ``in_features`` wide.

    >>> import torch
    >>> LinearProjector(64, 256)(torch.zeros(8, 64)).shape
    torch.Size([8, 256])
    """

    name: ClassVar[str] = "linear"

    pool: bool

    def __init__(
        self, in_features: int, out_features: int, *, bias: bool = True, pool: bool = False
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        self.pool = pool

    @classmethod
    def between(cls, student: Tensor, teacher: Tensor, **options: Any) -> Self:
        """Return the projector from one last axis to the other."""
        if options.get("pool"):
            return cls(width(student), width(teacher), **options)
        if student.ndim == 4:
            raise ShapeError(
                f"LinearProjector: expected vectors [B, D] or tokens [B, N, D], found a map "
                f"{_check.shape(student)}; give pool=True, or use ConvProjector"
            )
        return cls(student.shape[-1], teacher.shape[-1], **options)

    def forward(self, student: Tensor) -> Tensor:
        """Return ``[..., out_features]``."""
        found = pooled(student) if self.pool else student
        if found.ndim < 2 or found.shape[-1] != self.linear.in_features:
            raise self._mismatch(
                f"[..., {self.linear.in_features}]",
                student,
                "set in_features to the student's last axis, or use ConvProjector for a map",
            )
        projected: Tensor = self.linear(found)
        return projected
