import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from tutelage.data import DataSpec, TensorImages, collate, seed_for
from tutelage.errors import DataError, InputError, ShapeError


def noise(image):
    return torch.randint(0, 256, image.shape, dtype=torch.uint8)


def test_pixels_are_normalised_channel_by_channel():
    spec = DataSpec("toy", 2, ("a", "b"), 2, (1, 1), mean=(0.5, 0.25), std=(0.5, 2.0))
    images = torch.tensor([[[[255]], [[0]]], [[[51]], [[255]]]], dtype=torch.uint8)
    data = TensorImages(images, torch.tensor([0, 1]), spec)
    # (1 - .5) / .5 = 1; (0 - .25) / 2 = -.125; (.2 - .5) / .5 = -.6; (1 - .25) / 2 = .375
    expected = torch.tensor([[1.0, -0.125], [-0.6, 0.375]])
    inputs = data.__getitems__([0, 1]).inputs
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs.flatten(1), expected)


def test_floating_point_pixels_go_through_the_same_formula(make_images):
    data = make_images()
    floats = TensorImages(data._images / 255, data.targets, data.spec, pixel_max=1.0)
    torch.testing.assert_close(floats.__getitems__([3, 1]).inputs, data.__getitems__([3, 1]).inputs)


def test_the_brightest_value_follows_from_the_type_of_the_pixels(make_images):
    data = make_images()
    floats = TensorImages(data._images / 255, data.targets, data.spec)
    torch.testing.assert_close(floats.__getitems__([3, 1]).inputs, data.__getitems__([3, 1]).inputs)


@pytest.mark.parametrize(("factor", "shift"), [(1, 0), (1 / 255, -0.5)])
def test_floating_point_pixels_beyond_one_ask_for_their_scale(make_images, factor, shift):
    data = make_images()
    floats = data._images.float() * factor + shift
    with pytest.raises(InputError, match=r"floating-point pixels from 0 to 1, .* give pixel_max="):
        TensorImages(floats, data.targets, data.spec)
    TensorImages(floats, data.targets, data.spec, pixel_max=255.0)


def test_a_sample_is_its_image_label_and_id(make_images):
    data = make_images(ids=torch.arange(100, 120))
    image, label, sample_id = data[5]
    assert (label, sample_id) == (1, 105)
    assert torch.equal(image, data.__getitems__([4, 5]).inputs[1])


def test_iterating_ends_after_the_last_sample(make_images):
    assert [sample_id for _, _, sample_id in make_images(5)] == [0, 1, 2, 3, 4]


def test_a_subset_of_a_subset_keeps_the_original_ids_and_images(make_images):
    data = make_images()
    part = data.subset([4, 7, 9]).subset([2, 0])
    batch = part.__getitems__([0, 1])
    assert part.ids.tolist() == batch.ids.tolist() == [9, 4]
    assert batch.target.tolist() == part.targets.tolist() == [1, 0]
    assert torch.equal(batch.inputs, data.__getitems__([9, 4]).inputs)


def test_a_subset_shares_the_pixels(make_images):
    data = make_images()
    assert data.subset([1])._images.data_ptr() == data._images.data_ptr()


def test_a_torch_dataloader_works_with_collate(make_images):
    batches = list(DataLoader(make_images(10), batch_size=4, collate_fn=collate))
    assert [batch.ids.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_transform_runs_under_the_seed_of_its_sample_and_view(make_images):
    data = make_images(transform=noise, seed=7)
    data.set_view(3)
    generator = torch.Generator().manual_seed(seed_for(7, 11, 3))
    expected = torch.randint(0, 256, (1, 6, 6), dtype=torch.uint8, generator=generator)
    torch.testing.assert_close(data[11][0], expected / 255)


def test_a_transformed_sample_does_not_depend_on_its_batch(make_images):
    data = make_images(transform=noise)
    together = data.__getitems__([1, 2, 3]).inputs
    alone = [data.__getitems__([index]).inputs[0] for index in (3, 2, 1)]
    assert torch.equal(together, torch.stack(alone[::-1]))


def test_another_view_or_seed_gives_another_image_and_the_first_comes_back(make_images):
    data = make_images(transform=noise)
    first = data[0][0]
    data.set_view(1)
    assert not torch.equal(data[0][0], first)
    data.set_view(0)
    assert torch.equal(data[0][0], first)
    data.seed = 1
    assert not torch.equal(data[0][0], first)


def test_plain_images_are_not_augmented_and_the_original_still_is(make_images):
    data = make_images(transform=lambda image: image * 0)
    assert data.plain()[3][0].abs().sum() > 0
    assert data[3][0].abs().sum() == 0


def test_a_data_set_can_be_sent_to_another_process(make_images):
    data = make_images()
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again[3][0], data[3][0])


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"images": torch.zeros(3, 1, 4, 4)}, ShapeError, r"expected images \[2, 1, 4, 4\]"),
        ({"images": torch.zeros(2, 1, 4, 4).int()}, InputError, "found torch.int32"),
        ({"targets": torch.tensor([0, 2])}, DataError, "found 2 at index 1"),
        ({"ids": torch.tensor([1])}, InputError, r"ids of shape \[2\]"),
        ({"ids": torch.tensor([1, 1])}, InputError, "every id once"),
    ],
)
def test_tensors_that_contradict_each_other_are_refused(changes, kind, message):
    values = {
        "images": torch.zeros(2, 1, 4, 4),
        "targets": torch.tensor([0, 1]),
        "spec": DataSpec("toy", 2, ("a", "b"), 1, (4, 4), (0.0,), (1.0,)),
    }
    with pytest.raises(kind, match=message):
        TensorImages(**(values | changes))


def test_an_augmentation_that_changes_the_shape_is_refused(make_images):
    data = make_images(transform=lambda image: image[:, 1:])
    with pytest.raises(ShapeError, match=r"keep .* \[1, 6, 6\], found .* \[1, 5, 6\]"):
        data[0]


def test_an_augmentation_that_scales_the_pixels_is_refused(make_images):
    data = make_images(transform=lambda image: image / 255)
    with pytest.raises(ShapeError, match=r"keep torch.uint8 .*found torch.float32 .*scaling"):
        data[0]


def test_a_negative_view_is_refused(make_images):
    with pytest.raises(InputError, match=r"view: .*found -1"):
        make_images().set_view(-1)
