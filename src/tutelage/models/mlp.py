"""A multi-layer perceptron for very small images."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from tutelage.errors import InputError, ShapeError


class MLP(nn.Module):
    """Flattens its input, then ``widths`` hidden layers with ReLU, then the classifier.

    Layers have names to tap: ``hidden1`` (before its ReLU), ``act1`` (after it), ``hidden2`` ...
    and ``head``.

    Args:
        num_classes: Number of outputs.
        in_channels: Channels of the images.
        size: Height and width of the images in pixels.
        widths: Units of each hidden layer, first to last.

    Raises:
        InputError: A count is not a positive integer.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        size: tuple[int, int],
        widths: Sequence[int] = (256, 256),
    ) -> None:
        super().__init__()
        if any(count < 1 for count in (num_classes, in_channels, *size, *widths)):
            raise InputError(
                f"mlp: expected counts of at least 1, found num_classes={num_classes}, "
                f"in_channels={in_channels}, size={size}, widths={tuple(widths)}"
            )
        self.in_features = in_channels * size[0] * size[1]
        for i, (fan_in, fan_out) in enumerate(pairwise((self.in_features, *widths)), start=1):
            self.add_module(f"hidden{i}", nn.Linear(fan_in, fan_out))
            self.add_module(f"act{i}", nn.ReLU())
        self.head = nn.Linear((self.in_features, *widths)[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``[B, C]`` for images ``[B, channels, H, W]`` or rows ``[B, features]``."""
        x = images.flatten(1)
        if x.shape[1] != self.in_features:
            raise ShapeError(
                f"mlp: expected {self.in_features} values per sample, found {x.shape[1]} in "
                f"{list(images.shape)}; build it with the in_channels and size of your images"
            )
        for layer in self.children():
            x = layer(x)
        return x


def mlp(
    *,
    num_classes: int,
    in_channels: int = 1,
    size: tuple[int, int] | None = None,
    widths: Sequence[int] = (256, 256),
) -> MLP:
    """Build an :class:`MLP`; ``size`` is the images' height and width and cannot be guessed.

    >>> sum(p.numel() for p in mlp(num_classes=10, size=(8, 8), widths=(32,)).parameters())
    2410
    """
    if size is None:
        raise InputError("mlp: expected the images' size, found none; pass size=(height, width)")
    return MLP(num_classes=num_classes, in_channels=in_channels, size=size, widths=widths)
