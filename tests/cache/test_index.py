"""Sample ids: found whatever their spacing, refused where they are ambiguous."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from tutelage.cache.index import Index, render_index, sorted_ids
from tutelage.errors import DataError, InputError

EDGE = 2**63


def opened(folder: Path, ids: np.ndarray) -> Index:
    path = folder / "index.safetensors"
    path.write_bytes(render_index(ids))
    return Index(path, len(ids), "here")


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        (np.arange(1000), "bitmap"),
        (np.arange(1000) + 10**15, "bitmap"),
        (np.arange(0, 3000, 3) - 700, "bitmap"),
        (np.arange(1000) ** 3, "ids"),
        (np.array([5]), "bitmap"),
        (np.array([-EDGE, EDGE - 1]), "ids"),
        (np.array([EDGE - 1]), "bitmap"),
        (np.arange(-EDGE, -EDGE + 300, 7), "bitmap"),
    ],
)
def test_every_id_has_its_position_and_no_other_has_one(
    tmp_path: Path, ids: np.ndarray, kind: str
) -> None:
    index = opened(tmp_path, ids)
    assert list(load_file(tmp_path / "index.safetensors")) == [kind]
    assert np.array_equal(index.ids, ids)
    assert np.array_equal(index.find(ids), np.arange(len(ids)))
    assert np.array_equal(index.find(ids[::-1]), np.arange(len(ids))[::-1])
    others = np.setdiff1d(
        np.concatenate([ids[:-1] + 1, ids[1:] - 1, [0, 1, 2, -EDGE, EDGE - 1, 10**9]]), ids
    )
    assert (index.find(others) == -1).all()


@given(st.sets(st.integers(-2000, 2000), min_size=1), st.lists(st.integers(-2500, 2500)))
def test_positions_are_ranks(tmp_path_factory, ids: set[int], asked: list[int]) -> None:
    ordered = sorted(ids)
    index = opened(tmp_path_factory.mktemp("index"), np.array(ordered))
    expected = [ordered.index(one) if one in ids else -1 for one in asked]
    assert index.find(np.array(asked, np.int64)).tolist() == expected


def test_dense_ids_take_a_bit_each() -> None:
    assert len(render_index(np.arange(80_000))) < 80_000 / 8 + 300


def test_ids_are_sorted_and_each_stands_there_once() -> None:
    assert sorted_ids([5, -3, 4]).tolist() == [-3, 4, 5]
    with pytest.raises(DataError, match=r"found 4 again \(1 such\)"):
        sorted_ids([4, 5, 4])
    for wrong in ([], [1.5], [[1, 2]]):
        with pytest.raises(InputError, match=r"expected whole numbers \[N\]"):
            sorted_ids(wrong)
