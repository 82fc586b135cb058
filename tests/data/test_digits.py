import hashlib

import pytest
import torch

from tutelage.data import digits, load_digits
from tutelage.errors import DataError, InputError


def raw():
    return digits._read(digits.FILE)


def test_the_images_are_those_of_scikit_learn():
    images, labels = raw()
    # SHA-256 of load_digits().images and .target as uint8, scikit-learn 1.9.1.
    assert hashlib.sha256(images.numpy().tobytes()).hexdigest() == (
        "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3"
    )
    assert hashlib.sha256(labels.to(torch.uint8).numpy().tobytes()).hexdigest() == (
        "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0"
    )
    assert images.shape == (1797, 1, 8, 8)
    assert images.max() == 16


def test_source_and_licence_lie_beside_the_file():
    text = digits.FILE.with_name("digits.txt").read_text()
    assert "CC BY 4.0" in text
    assert "Alpaydin" in text


def test_training_and_test_images_are_1000_and_797_without_a_common_one():
    splits = load_digits()
    parts = [set(part.ids.tolist()) for part in (splits.train, splits.validation, splits.test)]
    assert [len(part) for part in parts] == [800, 200, 797]
    assert len(set.union(*parts)) == 1797


def test_the_split_is_pinned_because_published_numbers_rest_on_it():
    splits = load_digits()
    digest = hashlib.sha256()
    for part in (splits.train, splits.validation, splits.test):
        digest.update(part.ids.numpy().astype("<i8").tobytes())
    assert digest.hexdigest()[:16] == "ce03394e10fceced"


def test_an_id_is_the_row_in_the_file():
    images, labels = raw()
    batch = load_digits().test.__getitems__([0, 300])
    expected = (images[batch.ids] / 16.0 - 0.3050) / 0.3762
    torch.testing.assert_close(batch.inputs, expected)
    assert torch.equal(batch.target, labels[batch.ids])


def test_the_stated_mean_and_std_are_those_of_the_training_pixels():
    splits = load_digits()
    ids = torch.cat([splits.train.ids, splits.validation.ids])
    pixels = raw()[0][ids] / 16.0
    assert splits.spec.mean == (round(pixels.mean().item(), 4),)
    assert splits.spec.std == (round(pixels.std(correction=0).item(), 4),)


def test_another_seed_labels_other_images_and_tests_the_same():
    first, other = load_digits(labelled=100, seed=0), load_digits(labelled=100, seed=1)
    assert set(first.labelled.ids.tolist()) != set(other.labelled.ids.tolist())
    assert torch.equal(first.test.ids, other.test.ids)
    assert torch.equal(first.train.ids, other.train.ids)


def test_augmentation_moves_training_images_only():
    splits = load_digits(augment="shift", labelled=100)
    assert splits.train.transform == splits.labelled.transform is not None
    assert splits.test.transform is None


def test_a_damaged_file_is_refused(tmp_path):
    content = bytearray(digits.FILE.read_bytes())
    content[2000] ^= 1
    damaged = tmp_path / "digits.npz"
    damaged.write_bytes(content)
    with pytest.raises(DataError, match=r"digits\.npz.*SHA-256.*damaged; reinstall") as caught:
        digits._read(damaged)
    assert caught.value.exit_code == 3


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"\(0 bytes\).*reinstall"):
        digits._read(tmp_path / "digits.npz")


def test_more_labels_than_images_are_refused():
    with pytest.raises(InputError, match=r"digits: labelled: .*to 800"):
        load_digits(labelled=900)
