"""Generate the whole map from a masked one: the projector of MGD (2205.01529)."""

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.projectors.base import Projector
from tutelage.projectors.maps import check_map, size_between
from tutelage.projectors.resize import Size, grow, shrink

MASKS = ("pixels", "channels")


class MaskedGeneration(Projector):
    """Align the student's map, hide part of it, and let two convolutions fill it in.

    ``conv3x3(relu(conv3x3(M * align(s))))`` with biases, where ``align`` is a 1x1 convolution, left
    out for equal channels. The mask M is drawn anew for each sample and step from torch's global
    generator, in training mode only; in eval mode nothing is hidden. What is kept is not scaled up.

    Args:
        in_channels: Channels of the student's map.
        out_channels: Channels of the teacher's map.
        over: What is hidden: ``"pixels"``, in all channels at once (the released code for
            detection and segmentation), or whole ``"channels"`` (for classification).
        ratio: The probability in [0, 1] that one is hidden. The released code has 0.65 and 0.45 for
            pixels in one-stage and two-stage detectors, and 0.15 for channels.
        align: Whether there is a 1x1 convolution; default: where the channels differ.
        size: Height and width of the teacher's map, in pixels, where they differ from the
            student's: averaging shrinks before the alignment, bilinear interpolation grows after.

    Raises:
        ShapeError: In ``forward``, if the input is not ``[B, in_channels, H, W]``, or a mask is of
            another shape than ``[B, 1, h, w]`` or ``[B, out_channels, 1, 1]``.

    >>> MaskedGeneration(64, 256)(torch.zeros(8, 64, 14, 14)).shape
    torch.Size([8, 256, 14, 14])
    """

    name: ClassVar[str] = "masked_generation"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        over: str = "pixels",
        ratio: float = 0.65,
        align: bool | None = None,
        size: Size | None = None,
    ) -> None:
        super().__init__()
        self.over = _check.one_of(over, MASKS, "MaskedGeneration.over")
        self.ratio = _check.fraction(ratio, "MaskedGeneration.ratio")
        has_align = in_channels != out_channels if align is None else align
        if in_channels != out_channels and not has_align:
            raise ShapeError(
                f"MaskedGeneration: expected equal channels without align, found {in_channels} vs "
                f"{out_channels}; leave align out"
            )
        self.in_channels = in_channels
        self.align = nn.Conv2d(in_channels, out_channels, 1) if has_align else nn.Identity()
        self.conv1 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)
        self.size = None if size is None else (size[0], size[1])

    @classmethod
    def between(cls, student: Tensor, teacher: Tensor, **options: Any) -> Self:
        """Return the projector from one map to the channels and the size of the other."""
        size = size_between(student, teacher, cls.__name__)
        return cls(student.shape[1], teacher.shape[1], **{"size": size, **options})

    def forward(self, student: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return ``[B, out_channels, h, w]``.

        Args:
            student: The map.
            mask: 1 where the aligned map is kept and 0 where it is hidden, in place of a drawn one.
        """
        check_map(student, self.in_channels, type(self).__name__)
        maps = student if self.size is None else shrink(student, self.size)
        maps = self.align(maps)
        maps = maps if self.size is None else grow(maps, self.size)
        if mask is not None:
            _check_mask(mask, maps)
        elif self.training:
            mask = self._drawn(maps)
        if mask is not None:
            maps = maps * mask.to(maps.dtype)
        generated: Tensor = self.conv2(self.conv1(maps).relu())
        return generated

    def extra_repr(self) -> str:
        """Show the mask and the target size."""
        size = "" if self.size is None else f", size={self.size}"
        return f"over={self.over!r}, ratio={self.ratio}{size}"

    def _drawn(self, maps: Tensor) -> Tensor:
        b, c, h, w = maps.shape
        shape = (b, 1, h, w) if self.over == "pixels" else (b, c, 1, 1)
        return torch.rand(shape, device=maps.device) >= self.ratio


def _check_mask(mask: Tensor, maps: Tensor) -> None:
    b, c, h, w = maps.shape
    if mask.shape not in ((b, 1, h, w), (b, c, 1, 1)):
        raise ShapeError(
            f"MaskedGeneration: expected a mask [{b}, 1, {h}, {w}] or [{b}, {c}, 1, 1], found "
            f"{_check.shape(mask)}; give one value for each pixel or each channel"
        )
