"""The autoencoder that puts a teacher's map in fewer words, of factor transfer (1802.04977)."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import widen


class Paraphraser(nn.Module):
    """A convolutional autoencoder of the teacher's map; its code is the teacher's factor.

    Three 3x3 convolutions lead to ``rate * channels`` channels, three transposed ones back, each
    followed by a leaky ReLU; height and width stay. Train it first, on the teacher's features
    alone and without labels, then give it to an :class:`~tutelage.losses.FTLoss`:

    >>> import torch
    >>> paraphraser = Paraphraser(8)
    >>> optimiser = torch.optim.SGD(paraphraser.parameters(), lr=0.1, momentum=0.9)
    >>> for feature in torch.randn(3, 4, 8, 5, 5):  # the teacher's maps, batch by batch
    ...     optimiser.zero_grad()
    ...     paraphraser.reconstruction_loss(feature).backward()
    ...     optimiser.step()
    >>> paraphraser(feature).shape
    torch.Size([4, 4, 5, 5])

    Args:
        channels: Channels of the teacher's map.
        rate: :math:`k` above 0, factor channels per channel; the paper uses 0.5, 0.75, 2 and 4.
        slope: Slope of the leaky ReLU below 0.

    Raises:
        ShapeError: In ``forward``, if the input is not ``[B, channels, H, W]``.
    """

    def __init__(self, channels: int, *, rate: float = 0.5, slope: float = 0.1) -> None:
        super().__init__()
        self.channels = channels
        self.rate = _check.positive(rate, "Paraphraser.rate")
        self.slope = _check.non_negative(slope, "Paraphraser.slope")
        factor = max(round(channels * rate), 1)
        self.conv1 = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(channels, factor, kernel_size=3, padding=1)
        self.conv3 = nn.Conv2d(factor, factor, kernel_size=3, padding=1)
        self.back1 = nn.ConvTranspose2d(factor, factor, kernel_size=3, padding=1)
        self.back2 = nn.ConvTranspose2d(factor, channels, kernel_size=3, padding=1)
        self.back3 = nn.ConvTranspose2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, teacher: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K H W"]:
        """Return the factor of a map."""
        if teacher.ndim != 4 or teacher.shape[1] != self.channels:
            raise ShapeError(
                f"Paraphraser: expected the teacher's map [B, {self.channels}, H, W], found "
                f"{_check.shape(teacher)}; train one for each layer of the teacher"
            )
        for conv in (self.conv1, self.conv2, self.conv3):
            teacher = F.leaky_relu(conv(teacher), self.slope)
        return teacher

    def reconstruct(self, teacher: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        """Return the map that its factor tells."""
        found: Tensor = self(teacher)
        for conv in (self.back1, self.back2, self.back3):
            found = F.leaky_relu(conv(found), self.slope)
        return found

    def reconstruction_loss(self, teacher: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
        """Return the mean absolute error of the reconstruction, in the units of the features.

        The paper squares the error; the released code takes its magnitude, as here.
        """
        teacher = teacher.detach()
        return F.l1_loss(widen(self.reconstruct(teacher)), widen(teacher))

    def extra_repr(self) -> str:
        """Show the widths."""
        return f"channels={self.channels}, rate={self.rate}, slope={self.slope}"
