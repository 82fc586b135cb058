"""From the tokens of a transformer to the map of a convolutional net."""

from typing import ClassVar

from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.projectors.base import Projector
from tutelage.projectors.resize import Size, grow, shrink


class TokensToMap(Projector):
    """Lay tokens ``[B, N, in_features]`` out as a map ``[B, out_channels, H, W]``.

    The prefix tokens (class, distillation, registers) are dropped, the rest is laid out row by
    row on the grid ``size`` and mapped linearly from ``in_features`` to ``out_channels``.

    Args:
        in_features: Width of the student's tokens.
        out_channels: Channels of the teacher's map.
        size: Height and width of the token grid, in tokens: ``N = prefix_tokens + h * w``.
        prefix_tokens: How many leading tokens are not patches: 0, or 1 for a plain ViT.
        out_size: Height and width of the teacher's map, in pixels, where they differ from the
            grid: averaging shrinks, bilinear interpolation grows.
        bias: Whether the linear map has a bias.

    Raises:
        ShapeError: In ``forward``, if the input is not ``[B, prefix_tokens + h * w, in_features]``.

    >>> import torch
    >>> TokensToMap(192, 256, (14, 14), prefix_tokens=1)(torch.zeros(8, 197, 192)).shape
    torch.Size([8, 256, 14, 14])
    """

    name: ClassVar[str] = "tokens_to_map"

    def __init__(
        self,
        in_features: int,
        out_channels: int,
        size: Size,
        *,
        prefix_tokens: int = 0,
        out_size: Size | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if prefix_tokens < 0:
            raise InputError(
                f"TokensToMap.prefix_tokens: expected at least 0, found {prefix_tokens}"
            )
        self.conv = nn.Conv2d(in_features, out_channels, kernel_size=1, bias=bias)
        self.size = (size[0], size[1])
        self.prefix_tokens = prefix_tokens
        self.out_size = self.size if out_size is None else (out_size[0], out_size[1])

    def forward(self, student: Tensor) -> Tensor:
        """Return ``[B, out_channels, H, W]``."""
        width, (rows, columns) = self.conv.in_channels, self.size
        tokens = self.prefix_tokens + rows * columns
        if student.ndim != 3 or tuple(student.shape[1:]) != (tokens, width):
            raise self._mismatch(
                f"[B, {tokens}, {width}] ({self.prefix_tokens} prefix tokens and a grid of "
                f"{rows} x {columns})",
                student,
                "set in_features, size and prefix_tokens to the student's tokens",
            )
        maps = lay_out(student, self.size, self.prefix_tokens)
        return grow(self.conv(shrink(maps, self.out_size)), self.out_size)

    def extra_repr(self) -> str:
        """Show grid, prefix and target size."""
        return f"size={self.size}, prefix_tokens={self.prefix_tokens}, out_size={self.out_size}"


def lay_out(tokens: Tensor, grid: Size, prefix: int) -> Tensor:
    """Return the tokens ``[B, prefix + h * w, D]`` after the prefix as a map ``[B, D, h, w]``."""
    return tokens[:, prefix:].transpose(1, 2).reshape(len(tokens), -1, *grid)
