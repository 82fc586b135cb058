import random

import numpy as np
import pytest
import torch

from tutelage.data import replay, seed_for
from tutelage.data.views import seeds_for


def draws():
    return torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()


def test_seeds_are_63_bits_and_differ_over_seeds_samples_and_views():
    seeds = {seed_for(s, i, v) for s in range(10) for i in range(100) for v in range(10)}
    assert len(seeds) == 10_000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_of_a_batch_are_those_of_its_samples():
    ids = torch.tensor([5, 0, 70_000])
    assert seeds_for(3, ids, 2).tolist() == [seed_for(3, i, 2) for i in ids.tolist()]


def test_replay_draws_the_same_numbers_from_all_three_generators():
    first = replay(lambda _: draws(), None, seed_for(0, 1, 2))
    draws()
    assert replay(lambda _: draws(), None, seed_for(0, 1, 2)) == first


def test_replay_draws_other_numbers_for_another_seed():
    first, second = (replay(lambda _: draws(), None, seed) for seed in (1, 2))
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_the_upper_bits_of_the_seed_reach_numpy():
    low, high = (replay(lambda _: np.random.rand(), None, seed) for seed in (1, 1 + 2**40))
    assert low != high


def test_replay_gives_the_generators_back():
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = draws()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    replay(lambda _: draws(), None, 99)
    assert draws() == expected


def test_replay_gives_the_generators_back_after_an_exception():
    def fails(_):
        draws()
        raise KeyError("broken transform")

    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = draws()
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    with pytest.raises(KeyError, match="broken transform"):
        replay(fails, None, 99)
    assert draws() == expected
