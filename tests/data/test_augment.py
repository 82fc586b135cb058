import pytest
import torch

from tutelage.data.augment import ShiftFlip, augmentation
from tutelage.data.views import seeds_for
from tutelage.errors import InputError


def versions(image, pixels, flip):
    """Return every shifted (and mirrored) version of ``image`` [C, H, W], pixel by pixel."""
    _, height, width = image.shape
    found = []
    for mirrored in (False, True) if flip else (False,):
        for down in range(-pixels, pixels + 1):
            for right in range(-pixels, pixels + 1):
                moved = torch.zeros_like(image)
                for y in range(height):
                    for x in range(width):
                        row, column = y + down, (width - 1 - x if mirrored else x) + right
                        if 0 <= row < height and 0 <= column < width:
                            moved[:, y, x] = image[:, row, column]
                found.append(moved)
    return torch.stack(found)


@pytest.mark.parametrize("flip", [False, True])
def test_each_result_is_one_of_the_possible_versions_and_all_of_them_occur(flip):
    image = torch.arange(1, 33, dtype=torch.uint8).view(2, 4, 4)
    count = 2000
    seeds = seeds_for(0, torch.arange(count), 0)
    moved = ShiftFlip(1, flip=flip)(image.expand(count, 2, 4, 4), seeds)
    possible = versions(image, 1, flip)
    matches = (moved[:, None] == possible).flatten(2).all(dim=2)
    assert (matches.sum(dim=1) == 1).all()
    # Uniform over the versions: 2000 / 18 = 111 or 2000 / 9 = 222; half to double is far out.
    share = matches.sum(dim=0) * len(possible) / count
    assert share.min() > 0.5
    assert share.max() < 2


def test_a_batch_is_moved_as_its_images_alone(make_images):
    data = make_images(channels=3, transform=ShiftFlip(2))
    together = data.__getitems__([5, 2, 7]).inputs
    alone = torch.stack([data[index][0] for index in (5, 2, 7)])
    assert torch.equal(together, alone)
    assert not torch.equal(together, data.plain().__getitems__([5, 2, 7]).inputs)


@pytest.mark.parametrize(("size", "pixels"), [((8, 8), 1), ((28, 28), 2), ((56, 70), 4)])
def test_shifts_grow_with_the_image(size, pixels):
    assert augmentation("shift-flip", size) == ShiftFlip(pixels, flip=True)
    assert augmentation("shift", size) == ShiftFlip(pixels, flip=False)


def test_none_means_no_augmentation():
    assert augmentation("none", (8, 8)) is None


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(InputError, match="augment: expected one of none, shift, shift-flip"):
        augmentation("rotate", (8, 8))
