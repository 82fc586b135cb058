import numpy as np
import pytest

from tutelage.data.seeds import mix, mix_each, permutation, scramble


def test_scramble_is_splitmix64():
    # The first outputs of the published generator for the seed 1234567: state += golden, scramble.
    golden, state, outputs = 0x9E3779B97F4A7C15, 1234567, []
    for _ in range(3):
        state = (state + golden) % 2**64
        outputs.append(scramble(state))
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_arrays_and_single_numbers_hash_alike():
    values = np.array([0, 1, 2, -1, 2**62, 59_999])
    assert mix_each(values, "view", 3, 1).tolist() == [
        mix("view", 3, 1, value) for value in values.tolist()
    ]


@pytest.mark.parametrize("other", [("a", 0, 2), ("a", 1, 1), ("b", 0, 1), ("a", 1, 0), ("a", 0)])
def test_each_part_of_a_key_counts(other):
    assert mix("a", 0, 1) != mix(*other)


def test_a_permutation_is_pinned_because_splits_and_caches_rest_on_it():
    assert permutation(8, "digits").tolist() == [0, 6, 3, 2, 1, 4, 5, 7]


def test_a_permutation_holds_every_number_once():
    assert sorted(permutation(1000, "x", 4).tolist()) == list(range(1000))


def test_permutations_of_neighbouring_keys_are_unrelated():
    first, second = permutation(1000, "x", 0), permutation(1000, "x", 1)
    # Two random orders agree at one position in the mean; ten is beyond chance.
    assert (first == second).sum() < 10
