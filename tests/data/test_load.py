import inspect

import pytest
import torch

from tutelage import data
from tutelage.errors import InputError


def test_a_name_and_its_function_give_the_same_splits():
    by_name = data.load("digits", seed=4, validation=50, labelled=30)
    by_function = data.load_digits(seed=4, validation=50, labelled=30)
    for part in ("train", "labelled", "validation", "test"):
        assert torch.equal(getattr(by_name, part).ids, getattr(by_function, part).ids)


def test_every_data_set_takes_the_common_options():
    for function in data.index().values():
        assert {"seed", "validation", "labelled", "split_seed", "augment"} <= set(
            inspect.signature(function).parameters
        )


def test_an_unknown_name_is_refused_with_the_close_ones():
    with pytest.raises(InputError, match="'fashion_mnist'; did you mean 'fashion-mnist'") as caught:
        data.load("fashion_mnist")
    assert caught.value.exit_code == 2


def test_an_unknown_option_is_refused_with_the_close_ones():
    with pytest.raises(
        InputError, match="digits: unknown option 'agument'; did you mean 'augment'"
    ):
        data.load("digits", agument="shift")


def test_a_root_for_digits_is_refused():
    with pytest.raises(InputError, match="digits: unknown option 'root'"):
        data.load("digits", root="somewhere")
