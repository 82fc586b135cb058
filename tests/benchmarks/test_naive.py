"""A ratio means something only if both sides compute the same."""

import pytest
import torch
from naive import TABLE, WITHOUT
from naive.kit import pair

from tutelage.losses import index


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_naive_form_has_the_value_and_the_gradients_of_its_loss(name: str) -> None:
    entry = TABLE[name]
    both = pair(name, entry, entry.sizes.small, torch.float64)
    torch.testing.assert_close(both.naive(), both.ours(), rtol=1e-7, atol=1e-9)


def test_no_naive_form_is_left_of_a_loss_that_is_gone() -> None:
    assert set(TABLE) | set(WITHOUT) <= set(index())
    assert not set(TABLE) & set(WITHOUT)
