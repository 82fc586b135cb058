"""Fusion of each stage with all deeper ones by learned gates: ReviewKD's (2104.09044)."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import ShapeError
from tutelage.projectors.base import Projector
from tutelage.projectors.maps import check_map, size_between
from tutelage.projectors.resize import Size


class ReviewFusion(Projector):
    """Map the student's stages to the teacher's, each with what the deeper stages found.

    From the deepest stage up: ``a = norm1(conv1(s))`` (1x1, to ``hidden_channels``); below another,
    two gates of each pixel ``g = sigmoid(conv1x1([a, u]))`` mix it with the deeper stage's a,
    resized to it (u): ``a = g_0 a + g_1 u``; then ``norm2(conv2(a))`` (3x3) has the teacher's
    channels. Resizing copies the nearest pixel.

    Args:
        in_channels: Channels of the student's maps, from the shallowest to the deepest.
        out_channels: Channels of the teacher's maps.
        hidden_channels: Width of the fused maps; default: the deepest student's channels, at most
            512, as in the released code.
        sizes: Height and width of each of the teacher's maps, in pixels; ``None`` for those that
            are the student's.

    Raises:
        ShapeError: The numbers of stages differ; in ``forward``, if the inputs are not a map
            ``[B, C_i, H_i, W_i]`` for each stage.

    >>> fusion = ReviewFusion([16, 32], [64, 128])
    >>> [tuple(maps.shape) for maps in fusion([torch.zeros(2, 16, 8, 8), torch.zeros(2, 32, 4, 4)])]
    [(2, 64, 8, 8), (2, 128, 4, 4)]
    """

    name: ClassVar[str] = "review_fusion"
    takes_layers: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: Sequence[int],
        *,
        hidden_channels: int | None = None,
        sizes: Sequence[Size | None] | None = None,
    ) -> None:
        super().__init__()
        sizes = [None] * len(in_channels) if sizes is None else sizes
        if not in_channels or {len(out_channels), len(sizes)} != {len(in_channels)}:
            raise ShapeError(
                f"ReviewFusion: expected as many stages of both, at least one, found in_channels "
                f"for {len(in_channels)}, out_channels for {len(out_channels)} and sizes for "
                f"{len(sizes)}; pair the layers"
            )
        hidden = min(in_channels[-1], 512) if hidden_channels is None else hidden_channels
        deepest = len(in_channels) - 1
        self.stages = nn.ModuleList(
            Stage(mine, hidden, theirs, size, is_deepest=i == deepest)
            for i, (mine, theirs, size) in enumerate(
                zip(in_channels, out_channels, sizes, strict=True)
            )
        )

    @classmethod
    def between(cls, student: Sequence[Tensor], teacher: Sequence[Tensor], **options: Any) -> Self:
        """Return the fusion from some maps to as many of the teacher."""
        if len(student) != len(teacher):
            raise ShapeError(
                f"ReviewFusion: expected as many layers of both, found student {len(student)} vs "
                f"teacher {len(teacher)}; pair the layers"
            )
        pairs = zip(student, teacher, strict=True)
        sizes = [size_between(s, t, cls.__name__) for s, t in pairs]
        widths = [s.shape[1] for s in student], [t.shape[1] for t in teacher]
        return cls(*widths, **{"sizes": sizes, **options})

    def forward(self, student: Sequence[Tensor]) -> list[Tensor]:
        """Return ``[B, D_i, h_i, w_i]`` for each stage."""
        if len(student) != len(self.stages):
            raise ShapeError(
                f"ReviewFusion: expected {len(self.stages)} maps, found {len(student)}; give as "
                "many layers as it was built for"
            )
        fused: list[Tensor] = []
        deeper: Tensor | None = None
        for stage, maps in zip(reversed(self.stages), reversed(student), strict=True):
            projected, deeper = stage(maps, deeper)
            fused.insert(0, projected)
        return fused


class Stage(nn.Module):
    """One stage of the fusion: its map, mixed with the deeper one's, in the teacher's shape."""

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        size: Size | None,
        *,
        is_deepest: bool,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, hidden_channels, kernel_size=1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden_channels)
        self.gates = None if is_deepest else nn.Conv2d(2 * hidden_channels, 2, kernel_size=1)
        self.conv2 = nn.Conv2d(hidden_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.size = None if size is None else (size[0], size[1])
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_uniform_(conv.weight, a=1)  # no ReLU follows

    def forward(self, student: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the projected map, and the fused one for the stage above."""
        check_map(student, self.conv1.in_channels, "ReviewFusion")
        a = self.norm1(self.conv1(student))
        if self.gates is not None:
            assert deeper is not None
            u = F.interpolate(deeper, size=a.shape[2:], mode="nearest")
            g = self.gates(torch.cat([a, u], dim=1)).sigmoid()
            a = g[:, :1] * a + g[:, 1:] * u
        if self.size is not None:
            a = F.interpolate(a, size=self.size, mode="nearest")
        return self.norm2(self.conv2(a)), a

    def extra_repr(self) -> str:
        """Show the target size."""
        return "" if self.size is None else f"size={self.size}"
