"""Three 1x1 convolutions with ReLU between: the regressor of VID (1904.05835)."""

from typing import Any, ClassVar, Self

from torch import Tensor, nn

from tutelage.projectors.base import Projector
from tutelage.projectors.maps import check_map, size_between
from tutelage.projectors.resize import Size, grow, shrink


class MLPConvProjector(Projector):
    """Map ``[B, in_channels, H, W]`` to ``[B, out_channels, H, W]``, each pixel by one small MLP.

    Three 1x1 convolutions, all without bias, with a ReLU after the first and the second.

    Args:
        in_channels: Channels of the student's map.
        out_channels: Channels of the teacher's map.
        hidden_channels: Width of the two hidden layers; default: ``out_channels``.
        size: Height and width of the teacher's map, in pixels, where they differ from the
            student's: averaging shrinks before the first convolution, bilinear interpolation
            grows after the last.

    Raises:
        ShapeError: In ``forward``, if the input is not ``[B, in_channels, H, W]``.

    >>> import torch
    >>> MLPConvProjector(64, 256)(torch.zeros(8, 64, 14, 14)).shape
    torch.Size([8, 256, 14, 14])
    """

    name: ClassVar[str] = "mlp_conv"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden_channels: int | None = None,
        size: Size | None = None,
    ) -> None:
        super().__init__()
        hidden = out_channels if hidden_channels is None else hidden_channels
        self.conv1 = nn.Conv2d(in_channels, hidden, kernel_size=1, bias=False)
        self.conv2 = nn.Conv2d(hidden, hidden, kernel_size=1, bias=False)
        self.conv3 = nn.Conv2d(hidden, out_channels, kernel_size=1, bias=False)
        self.size = None if size is None else (size[0], size[1])

    @classmethod
    def between(cls, student: Tensor, teacher: Tensor, **options: Any) -> Self:
        """Return the projector from one map to the channels and the size of the other."""
        size = size_between(student, teacher, cls.__name__)
        return cls(student.shape[1], teacher.shape[1], **{"size": size, **options})

    def forward(self, student: Tensor) -> Tensor:
        """Return ``[B, out_channels, h, w]``."""
        check_map(student, self.conv1.in_channels, type(self).__name__)
        maps = student if self.size is None else shrink(student, self.size)
        maps = self.conv3(self.conv2(self.conv1(maps).relu()).relu())
        return maps if self.size is None else grow(maps, self.size)

    def extra_repr(self) -> str:
        """Show the target size."""
        return "" if self.size is None else f"size={self.size}"
