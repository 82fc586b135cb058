import dataclasses

import pytest
import torch

from tutelage.data import make_splits
from tutelage.data.splits import hold_out
from tutelage.errors import DataError, InputError


def two(make_images, train=40, test=8, **options):
    return (
        make_images(train, **options),
        make_images(test, ids=torch.arange(train, train + test), **options),
    )


def ids(data):
    return set(data.ids.tolist())


def test_the_parts_are_disjoint_and_complete(make_images):
    splits = make_splits(*two(make_images), validation=10)
    assert ids(splits.train) | ids(splits.validation) == set(range(40))
    assert not ids(splits.train) & ids(splits.validation)
    assert ids(splits.test) == set(range(40, 48))


def test_the_run_seed_moves_the_labelled_images_only(make_images):
    first, again, other = (
        make_splits(*two(make_images), validation=10, labelled=8, seed=seed) for seed in (0, 0, 1)
    )
    assert ids(first.labelled) == ids(again.labelled) != ids(other.labelled)
    for part in ("train", "validation", "test"):
        assert ids(getattr(first, part)) == ids(getattr(again, part)) == ids(getattr(other, part))


def test_the_split_seed_moves_the_validation_images(make_images):
    first, other = (
        make_splits(*two(make_images), validation=10, split_seed=seed) for seed in (0, 1)
    )
    assert ids(first.validation) != ids(other.validation)


def test_without_a_number_all_training_images_are_labelled(make_images):
    splits = make_splits(*two(make_images), validation=10)
    assert splits.labelled is splits.train


@pytest.mark.parametrize("seed", range(20))
def test_few_labels_still_hold_every_class(make_images, seed):
    # A plain draw of 5 of 40 with 4 classes misses one in about 4 of 10 draws.
    splits = make_splits(*two(make_images), validation=4, labelled=5, seed=seed)
    assert len(splits.labelled) == len(ids(splits.labelled)) == 5
    assert set(splits.labelled.targets.tolist()) == {0, 1, 2, 3}
    assert ids(splits.labelled) <= ids(splits.train)


def test_one_label_per_class_is_the_least(make_images):
    splits = make_splits(*two(make_images), validation=4, labelled=4)
    assert sorted(splits.labelled.targets.tolist()) == [0, 1, 2, 3]


def test_validation_and_test_are_never_augmented(make_images):
    train, test = two(make_images, transform=lambda image: image * 0)
    splits = make_splits(train, test, validation=10)
    assert splits.train.transform is splits.labelled.transform is not None
    assert splits.validation.transform is splits.test.transform is None


def test_a_validation_set_of_its_own_is_taken_as_it_is(make_images):
    train, test = two(make_images)
    own = make_images(6, ids=torch.arange(90, 96))
    splits = make_splits(train, test, validation=own)
    assert ids(splits.validation) == set(range(90, 96))
    assert len(splits.train) == 40


def test_each_class_gives_its_share(make_images):
    data = make_images(40)
    data.targets = torch.tensor([0] * 20 + [1] * 12 + [2] * 7 + [3])
    kept, held = hold_out(data, 0.25, seed=0, part="validation")
    assert held.targets.bincount(minlength=4).tolist() == [5, 3, 2, 0]
    assert kept.targets.bincount(minlength=4).tolist() == [15, 9, 5, 1]


def test_held_out_images_are_drawn_at_random_within_a_class(make_images):
    data = make_images(400)
    _, held = hold_out(data, 0.5, seed=0, part="validation")
    # 200 of 400 positions: their mean is 199.5 with a standard error of about 6.
    assert 170 < held.ids.double().mean() < 230


def test_a_fraction_is_rounded_to_whole_images(make_images):
    _, held = hold_out(make_images(30), 0.1, seed=0, part="validation")
    assert len(held) == 3


@pytest.mark.parametrize("size", [0, -3, 40, 0.0, 1.0, 1.5, float("nan"), True, "10"])
def test_a_size_out_of_range_is_refused(make_images, size):
    with pytest.raises(InputError, match=r"toy: validation: .*from 1 to 39, or a fraction"):
        make_splits(*two(make_images), validation=size)


@pytest.mark.parametrize("count", [3, 31, 0, -1, 4.0, True])
def test_a_number_of_labels_out_of_range_is_refused(make_images, count):
    with pytest.raises(InputError, match=r"labelled: expected .* from 4 .* to 30 .*found"):
        make_splits(*two(make_images), validation=10, labelled=count)


def test_a_class_without_training_images_is_refused(make_images):
    with pytest.raises(InputError, match=r"found none of 'class .* lower validation="):
        make_splits(*two(make_images), validation=38)


def test_one_class_only_is_refused(make_images):
    train, test = two(make_images)
    with pytest.raises(InputError, match="found only class 'class 2'"):
        make_splits(train.subset([2, 6, 10]), test, validation=1)


def test_parts_with_a_common_id_are_refused(make_images):
    with pytest.raises(
        DataError, match=r"train and test without a common sample.*found 8"
    ) as caught:
        make_splits(
            make_images(40), make_images(8), validation=make_images(2, ids=torch.tensor([90, 91]))
        )
    assert caught.value.exit_code == 3


def test_labelled_images_must_be_training_images(make_images):
    splits = make_splits(*two(make_images), validation=10)
    with pytest.raises(DataError, match="labelled images among the training images"):
        dataclasses.replace(splits, labelled=splits.test)
