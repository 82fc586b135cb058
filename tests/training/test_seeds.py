import io
import random

import numpy as np
import pytest
import torch

from tutelage.errors import InputError
from tutelage.training.seeds import forked, random_state, restore_random_state, seed_everything


def draw() -> list[float]:
    # normal draws too: they leave a spare number behind in numpy and in Python
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.randn(),
        float(torch.rand(())),
    ]


def test_one_seed_fixes_all_generators() -> None:
    with forked():
        seed_everything(2**40 + 3)
        first = draw()
        seed_everything(2**40 + 3)
        assert draw() == first
        seed_everything(4)
        assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_state_survives_a_file_that_is_read_without_code() -> None:
    with forked():
        draw()
        file = io.BytesIO()
        torch.save(random_state(), file)
        expected = [draw() for _ in range(700)]  # beyond numpy's and Python's 624 words
        file.seek(0)
        restore_random_state(torch.load(file, weights_only=True))
        assert [draw() for _ in range(700)] == expected


def test_forked_gives_the_state_back_after_an_exception() -> None:
    with forked():
        seed_everything(0)
        expected = draw()
        seed_everything(0)
        with pytest.raises(RuntimeError, match="inside"):
            fail_inside()
        assert draw() == expected


def fail_inside() -> None:
    with forked():
        seed_everything(5)
        draw()
        raise RuntimeError("inside")


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_out_of_range_are_refused(seed: int) -> None:
    with pytest.raises(InputError, match="from 0 to 2\\*\\*63 - 1"):
        seed_everything(seed)
