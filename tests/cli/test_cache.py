"""``tutelage cache`` and ``tutelage plan``, as a user types them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]

QUICK = ("data.labelled=60", "teacher.train.steps=100", "training.steps=6")


@pytest.fixture
def cache(tutelage: Call, tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    done = tutelage("cache", "build", "digits", *QUICK, "--to", folder)
    assert done.code == 0, done.err
    assert "800 of 800 rows written" in done.out
    assert f"teacher.cache={folder}" in done.out
    return folder


def test_a_cache_is_built_described_and_verified(tutelage: Call, cache: Path) -> None:
    told = tutelage("cache", "info", cache)
    assert told.code == 0
    for words in ("complete", "800 images x 1 views", "all 10 logits as fp32", "on the test set"):
        assert words in told.out
    seen = tutelage("cache", "verify", cache, "digits", *QUICK)
    assert seen.code == 0, seen.err
    assert "0 damaged" in seen.out
    assert "teacher, data, views and augmentation" in seen.out


def test_damage_is_named_mended_and_filled_again(tutelage: Call, cache: Path) -> None:
    shard = cache / "shard-00000.safetensors"
    before = shard.read_bytes()
    damaged = bytearray(before)
    damaged[-20_000] ^= 4
    shard.write_bytes(damaged)
    found = tutelage("cache", "verify", cache)
    assert found.code == 3
    assert "1 of 800 rows damaged" in found.out
    assert "cache repair" in found.err
    assert tutelage("cache", "repair", cache).code == 0
    filled = tutelage("cache", "build", "digits", *QUICK, "--to", cache)
    assert filled.code == 0, filled.err
    assert shard.read_bytes() == before
    assert "nothing is damaged" in tutelage("cache", "repair", cache).out


def test_another_recipe_than_the_caches_is_told_field_by_field(tutelage: Call, cache: Path) -> None:
    found = tutelage("cache", "verify", cache, "digits", *QUICK, "data.validation=100")
    assert found.code == 3
    assert "data.count" in found.err


def test_no_cache_is_a_bad_input(tutelage: Call, tmp_path: Path) -> None:
    for command in ("info", "verify", "repair"):
        outcome = tutelage("cache", command, tmp_path / "nowhere")
        assert outcome.code == 2
        assert "cache build" in outcome.err


def test_several_views_of_images_that_never_change_are_refused(
    tutelage: Call, tmp_path: Path
) -> None:
    outcome = tutelage("cache", "build", "digits", *QUICK, "--views", 2, "--to", tmp_path / "two")
    assert outcome.code == 2
    assert "images without augmentation" in outcome.err


def test_check_says_where_the_answers_are(tutelage: Call, cache: Path) -> None:
    outcome = tutelage("check", "digits", *QUICK, f"teacher.cache={cache}")
    assert outcome.code == 0, outcome.err
    assert f"read from {cache}" in outcome.out


def test_plan_measures_and_says_what_follows(tutelage: Call) -> None:
    outcome = tutelage("plan", "digits", *QUICK, "--top-k", 3, "--students", 4)
    assert outcome.code == 0, outcome.err
    for words in ("live", "cached", "bottleneck", "top 3 of 10", "bytes a view", "4 of them"):
        assert words in outcome.out


def test_plan_needs_a_teacher(tutelage: Call) -> None:
    outcome = tutelage("plan", "digits", "teacher=null", "terms=[{loss: ce}]", "compare=null")
    assert outcome.code == 2
    assert "expected a teacher whose cost to measure" in outcome.err
