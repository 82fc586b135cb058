"""The residual net for 32-pixel images of He et al., arXiv 1512.03385, section 4.2."""

from collections.abc import Sequence

from torch import Tensor, nn

from tutelage.errors import InputError


class Block(nn.Module):
    """Two 3x3 convolutions added to their input, or to its 1x1 projection where shapes differ."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.act2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, channels, H, W]`` to ``[B, width, H / stride, W / stride]``."""
        y = self.act1(self.norm1(self.conv1(x)))
        return self.act2(self.norm2(self.conv2(y)) + self.shortcut(x))  # type: ignore[no-any-return]


class TinyResNet(nn.Module):
    """A 3x3 stem, then one stage of ``blocks`` residual blocks per width, pooling and classifier.

    With three widths it has ``6 * blocks + 2`` layers: 3 blocks give the ResNet-20 of the paper,
    9 its ResNet-56. Where a stage changes the shape, the shortcut is a 1x1 convolution (the
    paper's option B). Layers to tap: ``stem``, ``stage1`` ..., ``pool`` and ``head``.
    """

    def __init__(
        self, *, num_classes: int, in_channels: int, widths: Sequence[int], blocks: int
    ) -> None:
        super().__init__()
        if not widths or any(count < 1 for count in (num_classes, in_channels, blocks, *widths)):
            raise InputError(
                f"tiny_resnet: expected counts of at least 1, found num_classes={num_classes}, "
                f"in_channels={in_channels}, widths={tuple(widths)}, blocks={blocks}"
            )
        channels = widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        for i, width in enumerate(widths, start=1):
            first = Block(channels, width, stride=1 if i == 1 else 2)
            rest = [Block(width, width, stride=1) for _ in range(blocks - 1)]
            self.add_module(f"stage{i}", nn.Sequential(first, *rest))
            channels = width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[B, C]`` for images ``[B, channels, H, W]``."""
        x = images
        for layer in self.children():
            x = layer(x)
        return x


def tiny_resnet(
    *,
    num_classes: int,
    in_channels: int = 3,
    widths: Sequence[int] = (16, 32, 64),
    blocks: int = 1,
) -> TinyResNet:
    """Build a :class:`TinyResNet`.

    >>> sum(p.numel() for p in tiny_resnet(num_classes=10, blocks=3).parameters())
    272474
    """
    return TinyResNet(
        num_classes=num_classes, in_channels=in_channels, widths=widths, blocks=blocks
    )
