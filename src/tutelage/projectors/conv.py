"""A 1x1 convolution, with resizing where asked: the regressor for maps (1412.6550, 1904.01866)."""

from typing import Any, ClassVar, Self

from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.projectors.base import Projector
from tutelage.projectors.resize import Size, grow, shrink


class ConvProjector(Projector):
    """Map ``[B, in_channels, H, W]`` to ``[B, out_channels, H, W]`` by a 1x1 convolution.

    Args:
        in_channels: Channels of the student's map.
        out_channels: Channels of the teacher's map.
        bias: Whether the convolution has a bias.
        norm: Whether a BatchNorm2d follows the convolution.
        relu: Whether a ReLU comes last (for teachers tapped after a ReLU).
        size: Height and width of the teacher's map, in pixels, where they differ from the
            student's. Shrinking averages (adaptive average pooling) before the convolution,
            growing interpolates bilinearly after everything else. None keeps the student's size.

    Raises:
        ShapeError: In ``forward``, if the input is not ``[B, in_channels, H, W]``.

    >>> import torch
    >>> ConvProjector(64, 256, size=(7, 7))(torch.zeros(8, 64, 14, 14)).shape
    torch.Size([8, 256, 7, 7])
    """

    name: ClassVar[str] = "conv"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bias: bool = True,
        norm: bool = False,
        relu: bool = False,
        size: Size | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=bias)
        self.norm = nn.BatchNorm2d(out_channels) if norm else nn.Identity()
        self.relu = nn.ReLU() if relu else nn.Identity()
        self.size = None if size is None else (size[0], size[1])

    @classmethod
    def between(cls, student: Tensor, teacher: Tensor, **options: Any) -> Self:
        """Return the projector between two maps, with resizing where their sizes differ."""
        for feature in (student, teacher):
            if feature.ndim != 4:
                raise ShapeError(
                    f"ConvProjector: expected two maps [B, C, H, W], found student "
                    f"{_check.shape(student)} vs teacher {_check.shape(teacher)}; tap layers "
                    "before the pooling, or use via='auto'"
                )
        size = None if student.shape[2:] == teacher.shape[2:] else tuple(teacher.shape[2:])
        return cls(student.shape[1], teacher.shape[1], **{"size": size, **options})

    def forward(self, student: Tensor) -> Tensor:
        """Return ``[B, out_channels, h, w]``."""
        channels = self.conv.in_channels
        if student.ndim != 4 or student.shape[1] != channels:
            raise self._mismatch(
                f"[B, {channels}, H, W]",
                student,
                "set in_channels to the student's axis 1; tokens [B, N, D] need TokensToMap",
            )
        maps = student if self.size is None else shrink(student, self.size)
        maps = self.relu(self.norm(self.conv(maps)))
        return maps if self.size is None else grow(maps, self.size)

    def extra_repr(self) -> str:
        """Show the target size."""
        return "" if self.size is None else f"size={self.size}"
