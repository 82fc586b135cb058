"""A bottleneck of three convolutions with batch norm: the projector of SimKD (2203.14001)."""

from typing import Any, ClassVar, Self

from torch import Tensor, nn

from tutelage import _check
from tutelage.projectors.base import Projector
from tutelage.projectors.maps import check_map, size_between
from tutelage.projectors.resize import Size, grow, shrink


class BottleneckProjector(Projector):
    """Map ``[B, in_channels, H, W]`` to ``[B, out_channels, H, W]`` through a narrower map.

    Convolutions of 1x1, 3x3 and 1x1 pixels without bias, each followed by BatchNorm and ReLU; the
    first two have ``out_channels / factor`` channels. With the student's C and the teacher's D it
    has ``CD/f + 9 (D/f)^2 + D^2/f + 4 D/f + 2 D`` parameters, which the deployed student keeps.

    Args:
        in_channels: Channels of the student's map.
        out_channels: Channels of the teacher's map.
        factor: How many times narrower the middle is, at least 1; the paper's choice is 2.
        size: Height and width of the teacher's map, in pixels, where they differ from the
            student's: averaging shrinks before the first convolution, bilinear interpolation
            grows after the last.

    Raises:
        ShapeError: In ``forward``, if the input is not ``[B, in_channels, H, W]``.

    >>> import torch
    >>> BottleneckProjector(64, 256)(torch.zeros(8, 64, 14, 14)).shape
    torch.Size([8, 256, 14, 14])
    """

    name: ClassVar[str] = "bottleneck"

    def __init__(
        self, in_channels: int, out_channels: int, *, factor: float = 2, size: Size | None = None
    ) -> None:
        super().__init__()
        width = max(int(out_channels // _check.positive(factor, "BottleneckProjector.factor")), 1)
        self.conv1 = nn.Conv2d(in_channels, width, kernel_size=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, kernel_size=1, bias=False)
        self.norm3 = nn.BatchNorm2d(out_channels)
        self.size = None if size is None else (size[0], size[1])

    @classmethod
    def between(cls, student: Tensor, teacher: Tensor, **options: Any) -> Self:
        """Return the projector to the teacher's channels and the smaller of the two sizes.

        A larger map of the teacher is for the loss to shrink.
        """
        size = size_between(student, teacher, cls.__name__)
        if size is not None:
            size = min(size[0], student.shape[2]), min(size[1], student.shape[3])
            size = None if size == tuple(student.shape[2:]) else size
        return cls(student.shape[1], teacher.shape[1], **{"size": size, **options})

    def forward(self, student: Tensor) -> Tensor:
        """Return ``[B, out_channels, h, w]``."""
        check_map(student, self.conv1.in_channels, type(self).__name__)
        maps = student if self.size is None else shrink(student, self.size)
        maps = self.norm1(self.conv1(maps)).relu()
        maps = self.norm2(self.conv2(maps)).relu()
        maps = self.norm3(self.conv3(maps)).relu()
        return maps if self.size is None else grow(maps, self.size)

    def extra_repr(self) -> str:
        """Show the target size."""
        return "" if self.size is None else f"size={self.size}"
