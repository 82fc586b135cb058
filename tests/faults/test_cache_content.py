"""Cases 14 to 17 and 20: missing ids, bad rows, formats, many classes, hostile manifests."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tutelage.cache import Layout, Reader, Writer, encode, verify
from tutelage.cache.manifest import seal
from tutelage.errors import DataError, NumericalError
from tutelage.signals import Signals, SparseLogits

GOLDEN = Path(__file__).parents[1] / "cache" / "golden_v1"


def test_case_14_a_sample_that_is_not_there_is_named(work, tmp_path: Path) -> None:
    work.build(tmp_path / "cache")
    reader = Reader(tmp_path / "cache")
    with pytest.raises(DataError, match="found no row for ids 4, 1000; build the cache from this"):
        reader.read([3, 4, 8, 1000])
    rows = reader.read([3, 4, 8, 1000, -(2**63)], absent="mask")
    assert rows.present.tolist() == [True, False, True, False, False]
    assert rows.logits.log_probs[1].isnan().all(), "never zeros"
    assert torch.equal(rows.logits.ids[2], reader.read([8]).logits.ids[0])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("top_k", [None, 3])
def test_case_15_a_row_that_is_not_finite_is_refused(value: float, top_k: int | None) -> None:
    logits = torch.zeros(6, 5)
    logits[2, 1] = logits[4, 0] = value
    layout = Layout(num_classes=5, top_k=top_k)
    with pytest.raises(NumericalError, match="found NaN or inf for samples 102, 104; look") as e:
        encode(layout, Signals(logits), np.arange(100, 106))
    assert e.value.exit_code == 4


@pytest.mark.parametrize("top_k", [None, 3])
def test_case_15_a_row_with_no_class_left_is_refused(top_k: int | None) -> None:
    logits = torch.zeros(2, 5)
    logits[1] = -torch.inf
    with pytest.raises(NumericalError, match="for samples 8;"):
        encode(Layout(num_classes=5, top_k=top_k), Signals(logits), [7, 8])


def test_case_16_the_first_format_is_read_for_ever() -> None:
    expected = json.loads((GOLDEN / "expected.json").read_text())
    for name in ("top", "dense"):
        reader = Reader(GOLDEN / name)
        assert verify(GOLDEN / name).ok
        for view in range(reader.layout.views):
            rows = reader.read(reader.ids, view)
            want = expected[name][view]
            logits = rows.logits
            if isinstance(logits, SparseLogits):
                assert logits.ids.tolist() == want["ids"]
                assert logits.rest.tolist() == want["rest"]
                assert logits.log_totals[4.0].tolist() == want["log_totals"]
                logits = logits.log_probs
            assert logits.tolist() == want["logits"]
            assert rows.taps["a"].tolist() == want["a"]
            assert rows.marks.tolist() == want["marks"]


def test_case_16_the_first_format_is_written_as_it_was(tmp_path: Path) -> None:
    old = Reader(GOLDEN / "top")
    kept = load_file(GOLDEN / "top" / "shard-00000.safetensors")
    columns = {column.name: kept[column.name] for column in old.layout.payload}
    position, view = np.divmod(np.arange(2 * len(old)), 2)
    with Writer.create(tmp_path / "top", old.layout, old.ids[::-1], {"made": "once"}) as writer:
        writer.write(position, view, columns, kept["mark"])
        writer.finish(dict(old.manifest.extra))
    for file in (GOLDEN / "top").iterdir():
        assert (tmp_path / "top" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(("version", "match"), [(2, "upgrade tutelage to >= 9.1"), (0, "repair")])
def test_case_16_other_formats_are_refused(work, tmp_path: Path, version: int, match: str) -> None:
    work.build(tmp_path / "cache")
    rewrite(tmp_path / "cache", format_version=version, needs="9.1", more="unknown")
    with pytest.raises(DataError, match=match):
        Reader(tmp_path / "cache")


@pytest.mark.parametrize(
    ("classes", "kind"), [(40_000, "<u2"), (65_536, "<u2"), (131_073, "<u4"), (248_000, "<u4")]
)
def test_case_17_the_last_class_comes_back_whatever_their_number(
    tmp_path: Path, classes: int, kind: str
) -> None:
    layout = Layout(num_classes=classes, top_k=4, temperatures=(2.0,))
    logits = torch.zeros(3, classes)
    best = torch.tensor([classes - 1, 0, classes // 2])
    logits[torch.arange(3), best] = 20.0
    columns = encode(layout, Signals(logits), [1, 2, 3])
    assert columns["top_ids"].dtype == np.dtype(kind)
    with Writer.create(tmp_path / "cache", layout, [1, 2, 3], {}) as writer:
        writer.write([0, 1, 2], 0, columns, [0, 0, 0])
        writer.finish()
    kept = Reader(tmp_path / "cache").read([1, 2, 3]).logits
    assert kept.ids[:, 0].tolist() == best.tolist()
    assert 0 <= int(kept.ids.min()) <= int(kept.ids.max()) < classes
    outside = (logits.double().softmax(1).sort(1).values[:, :-4]).sum(1).log()
    torch.testing.assert_close(kept.rest.double(), outside, rtol=2**-11, atol=1e-5)


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["manifest.json", "index.safetensors", "shard-00001.safetensors"])
def test_case_20_a_planted_pickle_is_not_unpickled(work, tmp_path: Path, name: str) -> None:
    path = tmp_path / "cache"
    work.build(path)
    (path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(DataError, match=name):
        Reader(path)
    assert not verify(path).ok
    assert not (tmp_path / "boom").exists()


@pytest.mark.parametrize("planted", ["../secret.safetensors", "/etc/passwd", "shard-00002.st"])
def test_case_20_a_path_in_the_manifest_is_not_followed(work, tmp_path: Path, planted: str) -> None:
    path = tmp_path / "cache"
    work.build(path)
    body = json.loads((path / "manifest.json").read_bytes())
    body["shards"][1]["file"] = planted
    rewrite(path, shards=body["shards"])
    with pytest.raises(DataError, match="files or numbers other than this cache's own"):
        Reader(path)
    rewrite(path, shards=body["shards"][:1], index={"file": planted, "sha256": "0"})
    with pytest.raises(DataError, match="other than this cache's own"):
        Reader(path)


@pytest.mark.parametrize(
    "fields",
    [
        {"layout": {"num_classes": 12, "surprise": 1}},
        {"layout": None},
        {"samples": -1},
        {"samples": 2**70},
        {"shard_samples": 0},
        {"shards": 3},
        {"identity": []},
        {"another": "field"},
    ],
    ids=str,
)
def test_case_20_a_manifest_that_makes_no_sense_is_refused(work, tmp_path, fields) -> None:
    work.build(tmp_path / "cache")
    rewrite(tmp_path / "cache", **fields)
    with pytest.raises(DataError, match="expected the manifest as it was written") as error:
        Reader(tmp_path / "cache")
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b'{"a": 1}', b"[" * 100_000, b"\xff\xfe"], ids=len
)
def test_case_20_a_manifest_that_is_none_is_refused(work, tmp_path: Path, content: bytes) -> None:
    work.build(tmp_path / "cache")
    (tmp_path / "cache" / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match="expected the manifest as it was written"):
        Reader(tmp_path / "cache")


def rewrite(path: Path, **fields: object) -> None:
    """Change a manifest as an attacker would, who can compute checksums too."""
    body = json.loads((path / "manifest.json").read_bytes())
    del body["checksum"]
    (path / "manifest.json").write_bytes(seal({**body, **fields}))
