import pytest
import torch
from torch.nn import functional as F

from tutelage.errors import ShapeError, TeacherError
from tutelage.teachers import InputAdapter, InputSpec

IMAGENET = InputSpec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
HALF = InputSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
GREY = InputSpec(mean=(0.286,), std=(0.353,))
OTHER_GREY = InputSpec(mean=(0.1,), std=(0.9,))


def pixels(channels, size=6):
    return torch.rand(3, channels, size, size)


def normalise(images, spec):
    out = images.double().clone()
    for c in range(images.shape[1]):
        out[:, c] = (out[:, c] - spec.mean[c]) / spec.std[c]
    return out


def recolour(images, channels):
    """Pixel by pixel, as an image library would before any normalisation."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return torch.cat([images, images, images], 1)
    red, green, blue = images[:, 0], images[:, 1], images[:, 2]
    return (0.299 * red + 0.587 * green + 0.114 * blue)[:, None]


@pytest.mark.parametrize("given", [IMAGENET, HALF, GREY, OTHER_GREY])
@pytest.mark.parametrize("wanted", [IMAGENET, HALF, GREY, OTHER_GREY])
def test_converted_images_are_as_if_the_teachers_loader_had_made_them(given, wanted):
    raw = pixels(given.channels)
    adapted = InputAdapter(given, wanted)(normalise(raw, given).float())
    expected = normalise(recolour(raw, wanted.channels), wanted)
    torch.testing.assert_close(adapted.double(), expected, atol=1e-6, rtol=1e-6)


def test_a_value_worked_out_by_hand():
    # A white pixel is (1 - 0.25) / 0.5 = 1.5 for the student and (1 - 0.5) / 0.25 = 2 here.
    adapter = InputAdapter(InputSpec(mean=(0.25,), std=(0.5,)), InputSpec(mean=(0.5,), std=(0.25,)))
    assert adapter(torch.full((1, 1, 1, 1), 1.5)).item() == pytest.approx(2.0)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(4, 5), (12, 9)])
def test_the_size_is_changed_with_antialiasing(interpolation, size):
    raw = pixels(3, 8)
    wanted = InputSpec(mean=HALF.mean, std=HALF.std, size=size, interpolation=interpolation)
    adapted = InputAdapter(IMAGENET, wanted)(normalise(raw, IMAGENET).float())
    resized = F.interpolate(raw.double(), size=size, mode=interpolation, antialias=True)
    torch.testing.assert_close(adapted.double(), normalise(resized, HALF), atol=2e-6, rtol=1e-5)


def test_shrinking_a_fine_chequerboard_gives_grey_and_not_one_of_its_colours():
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    adapter = InputAdapter(None, InputSpec(size=(4, 4)))
    shrunk = adapter(board.float()[None, None])
    torch.testing.assert_close(shrunk, torch.full((1, 1, 4, 4), 0.5), atol=0.05, rtol=0)


def test_nearest_keeps_the_values():
    adapter = InputAdapter(None, InputSpec(size=(2, 2), interpolation="nearest"))
    assert set(adapter(torch.arange(16.0).view(1, 1, 4, 4)).flatten().tolist()) <= set(range(16))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, None),
        (IMAGENET, None),
        (IMAGENET, IMAGENET),
        (IMAGENET, InputSpec(channels=3)),
        (None, InputSpec(channels=3)),
        (InputSpec(size=(8, 8)), InputSpec(size=(8, 8))),
    ],
)
def test_what_needs_no_conversion_is_the_same_tensor(given, wanted):
    adapter = InputAdapter(given, wanted)
    x = pixels(3, 8)
    assert adapter.is_identity
    assert adapter(x) is x


@pytest.mark.parametrize(("given", "wanted"), [(1, 3), (3, 1)])
def test_channels_are_converted_without_statistics_too(given, wanted):
    adapter = InputAdapter(InputSpec(channels=given), InputSpec(channels=wanted))
    x = pixels(given)
    torch.testing.assert_close(adapter(x), recolour(x, wanted))
    assert not adapter.is_identity


def test_images_that_have_the_wanted_size_are_not_resampled():
    x = pixels(3, 8)
    assert InputAdapter(None, InputSpec(size=(8, 8)))(x) is x


def test_unknown_statistics_of_the_student_are_an_error_with_both_ways_on():
    with pytest.raises(TeacherError, match=r"given=InputSpec.*inputs=InputSpec\(\)") as caught:
        InputAdapter(None, IMAGENET)
    assert caught.value.exit_code == 2


def test_channels_that_cannot_be_converted_are_refused():
    with pytest.raises(TeacherError, match="found 4 given and 3 wanted"):
        InputAdapter(InputSpec(channels=4), InputSpec(channels=3))


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 1, 8, 8), (3, 8, 8)])
def test_images_of_another_layout_are_refused_with_their_shape(shape):
    with pytest.raises(ShapeError, match=r"expected images \[B, 3, H, W\]") as caught:
        InputAdapter(IMAGENET, HALF)(torch.zeros(shape))
    assert str(list(shape)) in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_constants_follow_to_a_dtype_and_are_in_no_checkpoint(dtype):
    adapter = InputAdapter(IMAGENET, HALF).to(dtype)
    assert adapter(pixels(3).to(dtype)).dtype == dtype
    assert not adapter.state_dict()


def test_the_conversion_compiles_to_one_graph():
    wanted = InputSpec(mean=HALF.mean, std=HALF.std, size=(4, 4))
    adapter = InputAdapter(GREY, wanted)
    compiled = torch.compile(adapter, fullgraph=True, backend="eager")
    x = pixels(1)
    torch.testing.assert_close(compiled(x), adapter(x))


@pytest.mark.parametrize("wanted", [None, InputSpec(size=(8, 8)), InputSpec(size=(4, 4))])
def test_images_of_another_size_than_stated_are_refused(wanted):
    adapter = InputAdapter(InputSpec(size=(8, 8)), wanted)
    adapter(pixels(3, 8))
    with pytest.raises(ShapeError, match=r"expected images \[B, C, 8, 8\], found \[3, 3, 6, 6\]"):
        adapter(pixels(3, 6))
