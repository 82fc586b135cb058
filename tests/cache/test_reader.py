"""Reading: any rows in any order, in little memory, by anyone."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

from tutelage.cache import Layout, Reader, TapSpec, Writer, encode, few_kept, verify
from tutelage.cache.shards import samples_per_shard
from tutelage.errors import InputError
from tutelage.signals import Signals

IDS = np.arange(0, 500, 5)


def build(path: Path, layout: Layout, *, scale: float = 1.0, shard_samples: int = 30) -> Signals:
    draw = torch.Generator().manual_seed(4)
    v, n, c = layout.views, len(IDS), layout.num_classes
    logits = scale * torch.randn(v, n, c, generator=draw) if c else None
    taps = {tap.name: torch.randn(v, n, *tap.shape, generator=draw) for tap in layout.taps}
    with Writer.create(path, layout, IDS, {}, shard_samples=shard_samples) as writer:
        for view in range(v):
            one = Signals(
                None if logits is None else logits[view], {k: t[view] for k, t in taps.items()}
            )
            writer.write(range(n), view, encode(layout, one, IDS), IDS % 251)
        writer.finish()
    return Signals(logits, taps)


def test_rows_come_in_the_order_asked_for_each_with_its_view(tmp_path: Path) -> None:
    layout = Layout(num_classes=7, dtype="fp32", taps=(TapSpec("a", (2,)),), views=3)
    kept = build(tmp_path / "cache", layout)
    draw = np.random.default_rng(0)
    place, view = draw.integers(0, 100, 250), draw.integers(0, 3, 250)  # many of them twice
    rows = Reader(tmp_path / "cache").read(IDS[place], view)
    assert torch.equal(rows.logits, kept.logits[view, place])
    assert torch.equal(rows.taps["a"], kept.taps["a"][view, place])
    assert rows.marks.tolist() == (IDS[place] % 251).tolist()
    assert rows.present.all()


def test_brain_floats_and_several_taps_come_back(tmp_path: Path) -> None:
    taps = (TapSpec("pooled", (5,)), TapSpec("spatial", (3, 2, 2)), TapSpec("odd", (1,)))
    kept = build(tmp_path / "cache", Layout(taps=taps, dtype="bf16"))
    rows = Reader(tmp_path / "cache").read(IDS)
    assert rows.logits is None
    for tap in taps:
        expected = kept.taps[tap.name][0].bfloat16().float()
        assert torch.equal(rows.taps[tap.name], expected)


def test_an_empty_batch_has_no_rows(tmp_path: Path) -> None:
    build(tmp_path / "cache", Layout(num_classes=7, top_k=2))
    rows = Reader(tmp_path / "cache").read([])
    with Writer.create(tmp_path / "new", Layout(num_classes=7), IDS, {}) as writer:
        assert writer.write([], 0, {}, []) == 0
    assert rows.logits.ids.shape == (0, 2)


def test_a_view_that_was_not_built_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "cache", Layout(num_classes=7, views=2))
    with pytest.raises(InputError, match="expected views from 0 to 1, found 2 to 2; cycle"):
        Reader(tmp_path / "cache").read(IDS, 2)


def test_a_folder_without_a_cache_is_refused(tmp_path: Path) -> None:
    for read in (Reader, verify):
        with pytest.raises(
            InputError, match="expected the folder of a cache, found no such folder; check"
        ):
            read(tmp_path / "nothing")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"expected an empty folder or a cache, found thesis"):
        Writer.create(tmp_path, Layout(num_classes=7), IDS, {})
    assert (tmp_path / "thesis.tex").exists()


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    kept = build(tmp_path / "cache", Layout(num_classes=7, dtype="fp32"))
    reader = Reader(tmp_path / "cache")
    orders = [np.random.default_rng(seed).permutation(100) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        for order, rows in zip(
            orders, pool.map(lambda o: reader.read(IDS[o]), orders), strict=True
        ):
            assert torch.equal(rows.logits, kept.logits[0, order])


@pytest.mark.parametrize("dtype", ["fp32", "fp16", "bf16"])
def test_anyone_can_open_the_shards_without_us(tmp_path: Path, dtype: str) -> None:
    layout = Layout(num_classes=7, dtype=dtype, views=2)
    path = tmp_path / "cache"
    with Writer.create(path, layout, IDS, {}, shard_samples=30) as writer:
        empty = safetensors.torch.load_file(path / "shard-00003.safetensors")
        assert empty["done"].sum() == 0, "valid before the first row as well"
        writer.flush()
    kept = build(path, layout)
    tensors = safetensors.torch.load_file(path / "shard-00003.safetensors")
    stored = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[dtype]
    assert torch.equal(tensors["logits"][1::2], kept.logits[1, 90:].to(stored))
    assert tensors["done"].tolist() == [1] * 20
    if dtype != "bf16":
        arrays = safetensors.numpy.load_file(path / "shard-00003.safetensors")
        assert arrays["crc"].dtype == np.uint32


def test_the_mass_that_is_kept_is_told_and_warned_of(tmp_path: Path) -> None:
    kept = build(tmp_path / "flat", Layout(num_classes=40, top_k=4))
    mass = kept.logits[0].double().softmax(1).topk(4).values.sum(1)
    manifest = Reader(tmp_path / "flat").manifest
    told = manifest.extra["kept_mass"]
    assert told["mean"] == pytest.approx(float(mass.mean()), rel=1e-3)
    assert told["min"] == pytest.approx(float(mass.min()), rel=1e-3)
    assert told["below_0.9"] == 1.0
    assert f"hold {told['mean']:.3f} of the teacher's probability" in str(few_kept(manifest))
    build(tmp_path / "sharp", Layout(num_classes=40, top_k=4), scale=30.0)
    assert few_kept(Reader(tmp_path / "sharp").manifest) is None
    build(tmp_path / "dense", Layout(num_classes=40))
    assert Reader(tmp_path / "dense").manifest.extra == {}


def test_shards_depend_on_sizes_alone() -> None:
    top = Layout(num_classes=1000, top_k=10)
    dense = Layout(num_classes=1000, dtype="fp32", views=10)
    assert samples_per_shard(100, top) == 100
    assert samples_per_shard(60_000, top) == 7500
    assert samples_per_shard(1_281_167, dense) * dense.row_bytes * 10 <= 256 << 20
    many = samples_per_shard(10**9, dense)
    assert 10**9 / many <= 512


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's accounts")
def test_the_memory_of_a_reader_does_not_grow_with_the_cache(tmp_path: Path) -> None:
    small, large = (memory_of_reading(tmp_path / str(n), n) for n in (4_000, 400_000))
    assert (tmp_path / "400000" / "shard-00000.safetensors").stat().st_size > 2 << 20
    assert large - small < 1 << 20


def memory_of_reading(path: Path, n: int) -> int:
    """Build a cache of n rows, and return the bytes that a reader adds to a process of its own."""
    layout, ids = Layout(num_classes=20), np.arange(n) * 1000
    with Writer.create(path, layout, ids, {}) as writer:
        columns = encode(layout, Signals(torch.zeros(4000, 20)), ids[:4000])
        for start in range(0, n, 4000):
            writer.write(range(start, start + 4000), 0, columns, np.zeros(4000))
        writer.finish()
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        before = own_memory()
        reader = Reader(path)
        for seed in range(100):
            reader.read(ids[np.random.default_rng(seed).integers(0, n, 64)])
        os.write(sink, str(own_memory() - before).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(sink)
    with os.fdopen(source) as told:
        return int(told.read())


def own_memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024
