"""Three 3x3 convolutions down to the teacher's factor: the translator of FT (1802.04977)."""

from typing import Any, ClassVar, Self

from torch import Tensor, nn
from torch.nn import functional as F

from tutelage import _check
from tutelage.projectors.base import Projector
from tutelage.projectors.maps import check_map, size_between
from tutelage.projectors.resize import Size, grow, shrink


class TranslatorProjector(Projector):
    """Map ``[B, in_channels, H, W]`` to the student's factor ``[B, factor_channels, H, W]``.

    Three 3x3 convolutions with bias, the second of which changes the width, each followed by a
    leaky ReLU. Its output meets the factor that a paraphraser makes of the teacher's map.

    Args:
        in_channels: Channels of the student's map.
        factor_channels: Channels of the factor: the paraphraser's.
        slope: Slope of the leaky ReLU below 0.
        size: Height and width of the teacher's map, in pixels, where they differ from the
            student's: averaging shrinks before the first convolution, bilinear interpolation
            grows after the last.

    Raises:
        ShapeError: In ``forward``, if the input is not ``[B, in_channels, H, W]``.

    >>> import torch
    >>> TranslatorProjector(64, 128)(torch.zeros(8, 64, 14, 14)).shape
    torch.Size([8, 128, 14, 14])
    """

    name: ClassVar[str] = "translator"

    def __init__(
        self,
        in_channels: int,
        factor_channels: int,
        *,
        slope: float = 0.1,
        size: Size | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(in_channels, factor_channels, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(factor_channels, factor_channels, kernel_size=3, padding=1)
        self.slope = _check.non_negative(slope, "TranslatorProjector.slope")
        self.size = None if size is None else (size[0], size[1])

    @classmethod
    def between(
        cls, student: Tensor, teacher: Tensor, *, rate: float = 0.5, **options: Any
    ) -> Self:
        """Return the projector from one map to ``rate`` times the channels of the other.

        Args:
            student: The student's map.
            teacher: The teacher's map, before the paraphraser.
            rate: The paraphraser's, above 0.
            options: ``slope`` and ``size``, as of the constructor.
        """
        size = size_between(student, teacher, cls.__name__)
        rate = _check.positive(rate, f"{cls.__name__}.rate")
        factor_channels = max(round(teacher.shape[1] * rate), 1)
        return cls(student.shape[1], factor_channels, **{"size": size, **options})

    def forward(self, student: Tensor) -> Tensor:
        """Return ``[B, factor_channels, h, w]``."""
        check_map(student, self.conv1.in_channels, type(self).__name__)
        maps = student if self.size is None else shrink(student, self.size)
        for conv in (self.conv1, self.conv2, self.conv3):
            maps = F.leaky_relu(conv(maps), self.slope)
        return maps if self.size is None else grow(maps, self.size)

    def extra_repr(self) -> str:
        """Show the slope and the target size."""
        return f"slope={self.slope}" + ("" if self.size is None else f", size={self.size}")
