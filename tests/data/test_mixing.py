"""Mixed batches: images and labels in one proportion, the same for the same key."""

import pytest
import torch

from tutelage.data import Batch, mixed


def batch(n=6, size=(8, 9)):
    # Image b is filled with the number b and has the label b, so a mix shows its parts.
    inputs = torch.arange(float(n)).view(n, 1, 1, 1).expand(n, 2, *size).clone()
    return Batch(inputs, torch.arange(n), torch.arange(n) + 10)


def neighbours(soft):
    """The share of each sample itself, and of the one before it."""
    n = len(soft)
    own = soft[torch.arange(n), torch.arange(n)]
    return own, soft[torch.arange(n), (torch.arange(n) - 1) % n]


def test_mixup_mixes_images_and_labels_alike():
    found = mixed(batch(), num_classes=7, mixup=1.0, cutmix=None, key=3)
    own, other = neighbours(found.target)
    torch.testing.assert_close(own + other, torch.ones(6))
    numbers = torch.arange(6.0)
    expected = own * numbers + other * ((numbers - 1) % 6)
    torch.testing.assert_close(found.inputs, expected.view(-1, 1, 1, 1).expand(6, 2, 8, 9))
    assert len(set(own.tolist())) == 6  # each sample draws its own share
    assert found.ids.tolist() == batch().ids.tolist()


def test_cutmix_pastes_a_rectangle_of_the_share_that_the_labels_say():
    found = mixed(batch(), num_classes=6, mixup=None, cutmix=1.0, key=5)
    own, other = neighbours(found.target)
    is_own = found.inputs == batch().inputs
    torch.testing.assert_close(is_own.float().mean((1, 2, 3)), own)
    pasted = ~is_own[1, 0]
    rows, columns = pasted.any(1).sum(), pasted.any(0).sum()
    assert rows * columns == pasted.sum()  # a rectangle
    assert 0 < other[0] < 1


@pytest.mark.parametrize("options", [{"mixup": 0.4, "cutmix": None}, {"mixup": 1.0, "cutmix": 1.0}])
def test_the_key_decides(options):
    one, same, other = (mixed(batch(), num_classes=6, key=key, **options) for key in (1, 1, 2))
    torch.testing.assert_close(one.inputs, same.inputs)
    assert not torch.equal(one.target, other.target)


def test_both_take_turns_and_a_uniform_share_has_its_mean_in_the_middle():
    found = [mixed(batch(), num_classes=6, mixup=1.0, cutmix=1.0, key=key) for key in range(60)]
    shares = [len(set(neighbours(one.target)[0].tolist())) for one in found]
    assert 15 < sum(count == 1 for count in shares) < 45  # one share for the batch: CutMix
    own = torch.cat(
        [
            neighbours(mixed(batch(), num_classes=6, mixup=1.0, cutmix=None, key=key).target)[0]
            for key in range(60)
        ]
    )
    assert abs(own.mean() - 0.5) < 0.05
    assert own.min() < 0.05
    assert own.max() > 0.95


def test_an_empty_batch_stays_empty():
    empty = mixed(batch(0), num_classes=4, mixup=1.0, cutmix=None, key=0)
    assert empty.target.shape == (0, 4)
