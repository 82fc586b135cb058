"""A plain three-stage convolutional net: 16-32-64 channels teach, 8-16-32 learn."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from tutelage.errors import InputError


class SmallCNN(nn.Module):
    """One stage per width, each of two 3x3 convolutions with BatchNorm and ReLU.

    Every stage after the first begins by halving the resolution with a 2x2 max pool; the last is
    averaged over its positions. Layers to tap: ``stage1``, ``stage2`` ..., ``pool`` and ``head``.

    Args:
        num_classes: Number of outputs.
        in_channels: Channels of the images.
        widths: Channels of each stage.
    """

    def __init__(self, *, num_classes: int, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        if not widths or any(count < 1 for count in (num_classes, in_channels, *widths)):
            raise InputError(
                f"small_cnn: expected counts of at least 1, found num_classes={num_classes}, "
                f"in_channels={in_channels}, widths={tuple(widths)}"
            )
        channels = in_channels
        for i, width in enumerate(widths, start=1):
            self.add_module(f"stage{i}", _stage(channels, width, halve=i > 1))
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


def small_cnn(
    *, num_classes: int, in_channels: int = 1, widths: Sequence[int] = (16, 32, 64)
) -> SmallCNN:
    """Build a :class:`SmallCNN`.

    >>> sum(p.numel() for p in small_cnn(num_classes=10).parameters())
    72666
    >>> sum(p.numel() for p in small_cnn(num_classes=10, widths=(8, 16, 32)).parameters())
    18482
    """
    return SmallCNN(num_classes=num_classes, in_channels=in_channels, widths=widths)


def _stage(channels: int, width: int, *, halve: bool) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if halve:
        layers["pool"] = nn.MaxPool2d(2)
    for i, fan_in in enumerate((channels, width), start=1):
        layers[f"conv{i}"] = nn.Conv2d(fan_in, width, 3, padding=1, bias=False)
        layers[f"norm{i}"] = nn.BatchNorm2d(width)
        layers[f"act{i}"] = nn.ReLU()
    return nn.Sequential(layers)
