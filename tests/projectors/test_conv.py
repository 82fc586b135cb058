import pytest
import torch
from torch import nn

from tutelage.errors import ShapeError
from tutelage.projectors import ConvProjector


def by_pixel(projector, maps):
    weight = projector.conv.weight[:, :, 0, 0]
    return torch.einsum("bihw,oi->bohw", maps, weight) + projector.conv.bias[:, None, None]


def test_each_pixel_is_mapped_linearly():
    projector, maps = ConvProjector(4, 6), torch.randn(2, 4, 3, 5)
    torch.testing.assert_close(projector(maps), by_pixel(projector, maps))


def test_shrinking_averages():
    projector, maps = ConvProjector(4, 6, size=(2, 3)), torch.randn(2, 4, 4, 6)
    expected = by_pixel(projector, maps).reshape(2, 6, 2, 2, 3, 2).mean((3, 5))
    torch.testing.assert_close(projector(maps), expected)


def test_growing_interpolates_bilinearly():
    projector, maps = ConvProjector(4, 6, size=(8, 12)), torch.randn(2, 4, 4, 6)
    expected = nn.Upsample(scale_factor=2, mode="bilinear")(by_pixel(projector, maps))
    torch.testing.assert_close(projector(maps), expected)


def test_one_axis_may_shrink_while_the_other_grows():
    assert ConvProjector(4, 6, size=(2, 12))(torch.randn(2, 4, 4, 6)).shape == (2, 6, 2, 12)


def test_norm_and_relu_follow_the_convolution():
    projector, maps = ConvProjector(4, 6, norm=True, relu=True), torch.randn(8, 4, 3, 3)
    pixels = by_pixel(projector, maps)
    mean, variance = pixels.mean((0, 2, 3)), pixels.var((0, 2, 3), unbiased=False)
    normed = (pixels - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    torch.testing.assert_close(projector(maps), normed.clamp(min=0))


def test_repr_shows_the_size():
    assert "size=(7, 7)" in repr(ConvProjector(4, 6, size=(7, 7)))


@pytest.mark.parametrize("shape", [(2, 5, 3, 3), (2, 9, 4)])
def test_another_input_is_refused(shape):
    with pytest.raises(
        ShapeError, match=r"ConvProjector: expected \[B, 4, H, W\], found .*set in_"
    ):
        ConvProjector(4, 6)(torch.zeros(shape))
