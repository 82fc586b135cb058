import random
from itertools import chain

import numpy as np
import pytest
import torch

from tutelage.data import GlobalBatches, ShiftFlip, loader
from tutelage.errors import DataError, InputError


def all_ranks(n, batch_size, world_size, **options):
    options = {"seed": 3, "epoch": 1} | options
    return [
        list(GlobalBatches(n, batch_size, rank=rank, world_size=world_size, **options))
        for rank in range(world_size)
    ]


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize(("n", "batch_size"), [(24, 8), (23, 8), (100, 7), (9, 9), (5, 12)])
def test_the_pieces_of_all_ranks_join_to_the_batch_of_one_process(n, batch_size, world_size):
    (alone,) = all_ranks(n, batch_size, 1)
    ranks = all_ranks(n, batch_size, world_size)
    joined = [list(chain(*pieces)) for pieces in zip(*ranks, strict=True)]
    kept = n - n % batch_size if n % batch_size < world_size else n
    assert joined == alone[: len(joined)]
    assert sum(map(len, joined)) == kept
    assert all(len(piece) >= 1 for batches in ranks for piece in batches)


def test_pieces_differ_by_one_sample_at_most():
    ranks = all_ranks(23, 8, 3)
    for pieces in zip(*ranks, strict=True):
        assert max(map(len, pieces)) - min(map(len, pieces)) <= 1


def test_a_last_batch_too_small_for_all_ranks_is_dropped_for_all_and_counted():
    batches = GlobalBatches(10, 4, seed=0, epoch=0, rank=0, world_size=3)
    assert batches.dropped == 2
    assert [len(pieces) for pieces in all_ranks(10, 4, 3)] == [2, 2, 2]


def test_one_process_drops_nothing_unless_told_to():
    batches = GlobalBatches(10, 4, seed=0, epoch=0)
    assert [len(piece) for piece in batches] == [4, 4, 2]
    assert batches.dropped == 0
    cut = GlobalBatches(10, 4, seed=0, epoch=0, drop_last=True)
    assert [len(piece) for piece in cut] == [4, 4]
    assert cut.dropped == 2


@pytest.mark.parametrize("n", [7, 8, 9, 12])
def test_the_length_is_the_number_of_batches(n):
    for batch_size in (3, 4, 7):
        batches = GlobalBatches(n, batch_size, seed=0, epoch=0, world_size=2)
        assert len(batches) == len(list(batches))


def test_the_order_depends_on_seed_and_epoch_only():
    def order(seed, epoch, batch_size=10):
        return list(chain(*GlobalBatches(50, batch_size, seed=seed, epoch=epoch)))

    assert order(0, 0) == order(0, 0) == order(0, 0, batch_size=7)
    torch.rand(1)
    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    assert sorted(order(2, 5)) == list(range(50))


def test_without_shuffling_the_order_is_that_of_the_data():
    batches = GlobalBatches(9, 4, seed=0, epoch=3, shuffle=False)
    assert list(chain(*batches)) == list(range(9))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n": 0}, "found 0: an empty data set"),
        ({"batch_size": 0}, "global batch_size of at least 1"),
        ({"batch_size": 2, "world_size": 3}, "global batch_size of at least 3 .* found 2"),
        ({"rank": 2, "world_size": 2}, "rank from 0 to 1, found 2"),
        ({"n": 2, "world_size": 3}, "at least one batch of 4 .* found only 2 samples"),
        ({"n": 3, "drop_last": True}, "at least one batch of 4 .* found only 3 samples"),
    ],
)
def test_numbers_out_of_range_are_refused(values, message):
    with pytest.raises(InputError, match=message) as caught:
        GlobalBatches(**({"n": 10, "batch_size": 4, "seed": 0, "epoch": 0} | values))
    assert caught.value.exit_code == 2


def noisy(image):
    """Draw from all three global generators, as torchvision and older transforms do."""
    noise = torch.rand(image.shape) + np.random.rand() + random.random()
    return (noise * 85).to(torch.uint8)


def images_by_id(data, batch_size, **options):
    batches = loader(data, batch_size, seed=5, **({"epoch": 0} | options))
    return {
        sample_id: image
        for batch in batches
        for sample_id, image in zip(batch.ids.tolist(), batch.inputs, strict=True)
    }


@pytest.mark.parametrize("transform", [noisy, ShiftFlip(2)])
@pytest.mark.parametrize(
    "change", [{"workers": 2}, {"epoch": 4}, {"batch_size": 3}, {"shuffle": False}]
)
def test_a_view_does_not_depend_on_workers_order_or_batch_size(make_images, transform, change):
    data = make_images(transform=transform, seed=2)
    data.set_view(1)
    expected = images_by_id(data, 8)
    found = images_by_id(data, **({"batch_size": 8} | change))
    assert found.keys() == expected.keys() == set(range(20))
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_a_view_reaches_the_workers(make_images):
    data = make_images(transform=noisy)
    first = images_by_id(data, 8, workers=2)
    data.set_view(1)
    second = images_by_id(data, 8, workers=2)
    assert not any(torch.equal(first[key], second[key]) for key in first)


def test_batches_are_the_same_with_and_without_workers(make_images):
    here, there = (
        list(loader(make_images(), 6, seed=0, epoch=2, workers=workers)) for workers in (0, 2)
    )
    for one, other in zip(here, there, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_labels_and_ids_travel_with_their_image(make_images):
    data = make_images(ids=torch.arange(1000, 1020))
    for batch in loader(data, 7, seed=0, epoch=0):
        positions = batch.ids - 1000
        assert torch.equal(batch.target, data.targets[positions])
        assert torch.equal(batch.inputs, data.__getitems__(positions).inputs)


@pytest.mark.parametrize("workers", [0, 2])
def test_loading_leaves_the_global_generator_alone(make_images, workers):
    before = torch.get_rng_state()
    list(loader(make_images(transform=noisy), 8, seed=0, epoch=0, workers=workers))
    assert torch.equal(torch.get_rng_state(), before)


def test_changing_the_view_does_not_touch_an_epoch_that_runs(make_images):
    data = make_images(transform=noisy)
    expected = images_by_id(data, 8)
    batches = iter(loader(data, 8, seed=5, epoch=0))
    found = [next(batches)]
    data.set_view(9)
    found += list(batches)
    for batch in found:
        for sample_id, image in zip(batch.ids.tolist(), batch.inputs, strict=True):
            assert torch.equal(image, expected[sample_id])


def test_a_loader_has_a_length_and_can_be_iterated_again(make_images):
    batches = loader(make_images(), 6, seed=0, epoch=0)
    first, second = ([batch.ids.tolist() for batch in batches] for _ in range(2))
    assert len(batches) == len(first) == 4
    assert first == second


def refuse(image):
    raise DataError("photos/3.png: unreadable")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_arrives_with_its_own_words(make_images, workers):
    with pytest.raises(DataError) as caught:
        list(loader(make_images(transform=refuse), 8, seed=0, epoch=0, workers=workers))
    assert str(caught.value) == "photos/3.png: unreadable"


def test_a_negative_number_of_workers_is_refused(make_images):
    with pytest.raises(InputError, match=r"workers: .*found -1"):
        loader(make_images(), 8, seed=0, epoch=0, workers=-1)
