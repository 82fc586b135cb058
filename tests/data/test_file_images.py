import sys

import numpy as np
import pytest
import torch

from tutelage.data import DataSpec, FileImages
from tutelage.data.file_images import read_image
from tutelage.errors import DataError, InputError, MissingPackageError, ShapeError

SPEC = DataSpec("photos", 2, ("a", "b"), 3, (4, 4), (0.5, 0.25, 0.0), (0.5, 1.0, 2.0))


@pytest.fixture
def save(tmp_path, pillow):
    """Write an array as an image file and return its path."""

    def write(array, name="image.png", **options):
        path = tmp_path / name
        pillow.fromarray(np.asarray(array, dtype=np.uint8)).save(path, **options)
        return str(path)

    return write


def blocks(height=4, width=4):
    return np.arange(height * width * 3).reshape(height, width, 3) * 5 % 256


def test_pixels_are_read_and_normalised_channel_by_channel(save):
    data = FileImages(
        [save(blocks()), save(blocks()[::-1], "b.png")], torch.tensor([0, 1]), SPEC, crop=1.0
    )
    batch = data.__getitems__([1, 0])
    expected = blocks() / 255
    expected = (expected - np.array(SPEC.mean)) / np.array(SPEC.std)
    assert batch.inputs.dtype == torch.float32
    np.testing.assert_allclose(batch.inputs[1].permute(1, 2, 0), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        batch.inputs[0].permute(1, 2, 0), expected[::-1], rtol=1e-6, atol=1e-6
    )
    assert batch.ids.tolist() == batch.target.tolist() == [1, 0]


def test_the_centre_of_a_wide_image_is_cut_out(save):
    wide = np.zeros((4, 12, 3))
    wide[:, 4:8] = blocks()
    data = FileImages([save(wide), save(blocks(), "b.png")], torch.tensor([0, 1]), SPEC, crop=1.0)
    assert torch.equal(data[0][0], data[1][0])


@pytest.mark.parametrize(("height", "width"), [(4, 4), (300, 5), (3, 200), (1, 1), (7, 5)])
@pytest.mark.parametrize("crop", [0.875, 1.0])
def test_images_of_any_size_come_out_in_one_size(save, height, width, crop):
    data = FileImages([save(blocks(height, width))], torch.tensor([0]), SPEC, crop=crop)
    assert data[0][0].shape == (3, 4, 4)


@pytest.mark.parametrize(("height", "width"), [(50, 70), (28, 28), (301, 200), (9, 11)])
def test_the_centre_crop_agrees_with_torchvision(save, torchvision, height, width):
    from torchvision.transforms import v2

    spec = DataSpec("photos", 2, ("a", "b"), 3, (28, 28), (0.0,) * 3, (1.0,) * 3)
    path = save(blocks(height, width))
    ours = FileImages([path], torch.tensor([0]), spec)[0][0]
    theirs = v2.Compose([v2.Resize(32), v2.CenterCrop(28)])(read_image(path))
    expected = torch.from_numpy(np.array(theirs)).permute(2, 0, 1) / 255
    torch.testing.assert_close(ours, expected)


def test_grey_palette_and_transparent_images_become_rgb(tmp_path, save, pillow):
    grey = save(blocks()[..., 0], "grey.png")
    assert read_image(grey).mode == "RGB"
    palette = pillow.fromarray(blocks().astype(np.uint8)).quantize(4)
    palette.save(tmp_path / "palette.png", transparency=bytes([0, 128, 255, 255]))
    assert read_image(str(tmp_path / "palette.png")).mode == "RGB"


def test_pixels_of_16_bits_are_refused_rather_than_clipped(tmp_path, pillow):
    path = tmp_path / "deep.png"
    pillow.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(path)
    with pytest.raises(DataError, match=r"deep\.png.*more than 8 bits"):
        read_image(str(path))


def damaged(path, kind):
    content = path.read_bytes()
    path.write_bytes({"text": b"not an image", "empty": b"", "cut": content[:-40]}[kind])
    return str(path)


@pytest.mark.parametrize("kind", ["text", "empty", "cut"])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_an_unreadable_image_is_named(tmp_path, save, kind, ending):
    save(blocks(40, 40), f"broken.{ending}")
    path = damaged(tmp_path / f"broken.{ending}", kind)
    data = FileImages([path], torch.tensor([0]), SPEC)
    with pytest.raises(DataError, match=rf"broken\.{ending}'.*replace or remove it") as caught:
        data[0]
    assert caught.value.exit_code == 3
    assert "\n" not in str(caught.value)


def test_an_image_that_vanished_is_named(tmp_path, pillow):
    data = FileImages([tmp_path / "gone.png"], torch.tensor([0]), SPEC)
    with pytest.raises(DataError, match=r"gone\.png'.*No such file"):
        data[0]


def test_verify_names_every_damaged_file_at_once(tmp_path, save):
    paths = [save(blocks(), f"{number}.png") for number in range(14)]
    FileImages(paths, torch.zeros(14).long(), SPEC).verify()
    damaged(tmp_path / "3.png", "text")
    damaged(tmp_path / "7.png", "cut")
    with pytest.raises(DataError, match=r"14 readable images, found 2 unreadable:") as caught:
        FileImages(paths, torch.zeros(14).long(), SPEC).verify()
    assert caught.value.exit_code == 3
    assert repr(paths[3]) in str(caught.value)
    assert repr(paths[7]) in str(caught.value)


def test_verify_names_ten_of_many(tmp_path, save):
    paths = [save(blocks(), f"{number}.png") for number in range(14)]
    for number in range(14):
        damaged(tmp_path / f"{number}.png", "text")
    with pytest.raises(DataError, match=r"found 14 unreadable:[^$]*and 4 more"):
        FileImages(paths, torch.zeros(14).long(), SPEC).verify()


def test_paths_follow_a_subset(tmp_path):
    data = FileImages(["a.png", "b.png", "c.png"], torch.tensor([0, 1, 0]), SPEC)
    assert data.subset([2, 0]).paths == ["c.png", "a.png"]


@pytest.mark.parametrize(
    ("transform", "found"),
    [
        (lambda image: image.resize((5, 4)), r"\[4, 5, 3\]"),
        (lambda image: image.convert("L"), r"\[4, 4\]"),
    ],
)
def test_an_augmentation_that_gives_another_shape_is_refused(save, transform, found):
    data = FileImages([save(blocks())], torch.tensor([0]), SPEC, transform=transform)
    with pytest.raises(ShapeError, match=rf"\[4, 4, 3\], found {found}"):
        data[0]


def test_an_augmentation_that_gives_a_tensor_is_refused(save):
    data = FileImages(
        [save(blocks())], torch.tensor([0]), SPEC, transform=lambda image: torch.zeros(3, 4, 4)
    )
    with pytest.raises(InputError, match="give a PIL image, found Tensor"):
        data[0]


def test_a_missing_label_is_refused():
    with pytest.raises(InputError, match="one path per label, found 2 paths and 1 labels"):
        FileImages(["a.png", "b.png"], torch.tensor([0]), SPEC)


@pytest.mark.parametrize("crop", [0, 1.1, float("nan")])
def test_a_crop_out_of_range_is_refused(crop):
    with pytest.raises(InputError, match="crop: expected above 0 and up to 1"):
        FileImages(["a.png"], torch.tensor([0]), SPEC, crop=crop)


def test_without_pillow_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingPackageError, match=r'pip install "tutelage\[vision\]"'):
        read_image("a.png")
