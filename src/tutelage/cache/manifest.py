"""The manifest: what a cache holds and for whom. JSON that carries a checksum of itself."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage.cache.spec import Layout
from tutelage.errors import DataError, InputError, TutelageError

FORMAT = 1
_FORMAT_NAME = "tutelage teacher cache"
_READABLE_SINCE = "0.1.0"  # the first release that reads FORMAT
_LARGEST = 1 << 26

FINISHED, BUILDING, INDEX = "manifest.json", "building.json", "index.safetensors"
_FIELDS = {"format", "format_version", "needs", "layout", "samples", "shard_samples", "index"}
_FIELDS |= {"shards", "identity", "extra"}


def shard_name(number: int) -> str:
    """Return the file name of a shard.

    >>> shard_name(3)
    'shard-00003.safetensors'
    """
    return f"shard-{number:05d}.safetensors"


@dataclass(frozen=True)
class Manifest:
    """What stands in ``manifest.json``, or in ``building.json`` until the cache is finished.

    Args:
        layout: What a row holds.
        samples: How many samples there are.
        shard_samples: How many of them a shard holds; the last may have fewer.
        index_sha256: Of ``index.safetensors``, the sample ids.
        identity: For whom the cache was made (teacher, data, preprocessing ...): JSON values,
            compared field by field and not interpreted here.
        shard_sha256: Of each shard; empty while the cache is being built.
        extra: What is worth knowing and not compared (kept mass, the teacher's accuracy ...).
    """

    layout: Layout
    samples: int
    shard_samples: int
    index_sha256: str
    identity: Mapping[str, Any]
    shard_sha256: tuple[str, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.samples // self.shard_samples)

    @property
    def finished(self) -> bool:
        """Whether every row is there."""
        return bool(self.shard_sha256)

    def positions_of(self, shard: int) -> range:
        """Return the positions of the samples that a shard holds."""
        start = shard * self.shard_samples
        return range(start, min(start + self.shard_samples, self.samples))

    def rows_of(self, shard: int) -> int:
        """Return the length of a shard: one row for each view of each of its samples."""
        return len(self.positions_of(shard)) * self.layout.views

    def key(self) -> dict[str, Any]:
        """Return what must be equal for a build to be continued: everything but the outcome."""
        return {
            "layout": self.layout.to_json(),
            "samples": self.samples,
            "sample ids": self.index_sha256,
            "shard_samples": self.shard_samples,
            "identity": _plain(self.identity, "identity"),
        }

    def building(self) -> "Manifest":
        """Return the same without an outcome."""
        return replace(self, shard_sha256=(), extra={})

    def render(self) -> bytes:
        """Return the bytes of the file: the same for equal manifests.

        Raises:
            InputError: If the identity or the extras are no JSON values.
        """
        hashes = self.shard_sha256 or ("",) * self.shards
        body = {
            "format": _FORMAT_NAME,
            "format_version": FORMAT,
            "needs": _READABLE_SINCE,
            "layout": self.layout.to_json(),
            "samples": self.samples,
            "shard_samples": self.shard_samples,
            "index": {"file": INDEX, "sha256": self.index_sha256},
            "shards": [
                {"file": shard_name(number), "rows": self.rows_of(number), "sha256": sha256}
                for number, sha256 in enumerate(hashes)
            ],
            "identity": _plain(self.identity, "identity"),
            "extra": _plain(self.extra, "extra"),
        }
        return seal(body)


def outcome(manifest: Manifest, hashes: Sequence[str], extra: Mapping[str, Any]) -> Manifest:
    """Return the manifest of the finished cache."""
    return replace(manifest, shard_sha256=tuple(hashes), extra=extra)


def digest(content: bytes) -> str:
    """Return the SHA-256 of some bytes in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def seal(body: Mapping[str, Any]) -> bytes:
    """Return a JSON object as text with the checksum of all its other fields."""
    return _text({**body, "checksum": digest(_text(body))})


def load(path: Path) -> Manifest:
    """Read and check a manifest. Nothing in it is executed, and no path in it is followed.

    Raises:
        DataError: If a single bit of it changed, if it names other files than its own, or if a
            newer tutelage wrote it.
        InputError: If it cannot be opened.
    """
    body = _unsealed(path)
    version = body.get("format_version")
    if body.get("format") != _FORMAT_NAME or version != FORMAT:
        if isinstance(version, int) and version > FORMAT:
            raise DataError(
                f"{path}: expected cache format {FORMAT}, found {version}; upgrade tutelage to "
                f">= {body.get('needs', 'the newest release')}"
            )
        raise _damaged(path, f"format {body.get('format')!r} {version!r}")
    unknown = sorted(set(body) ^ _FIELDS)
    if unknown:
        raise _damaged(path, f"unknown or missing fields {', '.join(unknown)}")
    try:
        manifest = _manifest(body)
    except (TutelageError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise _damaged(path, f"fields that make no sense ({error})") from error
    if manifest.render() != path.read_bytes():  # other files, other lengths
        raise _damaged(path, "files or numbers other than this cache's own")
    return manifest


def _manifest(body: Mapping[str, Any]) -> Manifest:
    hashes = tuple(str(shard["sha256"]) for shard in body["shards"])
    samples, shard_samples = int(body["samples"]), int(body["shard_samples"])
    if samples < 1 or shard_samples < 1:
        raise ValueError("no samples")
    return Manifest(
        layout=Layout.from_json(body["layout"]),
        samples=samples,
        shard_samples=shard_samples,
        index_sha256=str(body["index"]["sha256"]),
        identity=dict(body["identity"]),
        shard_sha256=hashes if any(hashes) else (),
        extra=dict(body["extra"]),
    )


def _unsealed(path: Path) -> dict[str, Any]:
    """Return the object in the file, whose every byte is what was written."""
    try:
        if path.stat().st_size > _LARGEST:
            raise _damaged(path, f"{path.stat().st_size:,} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: expected a readable file, found: {error.strerror}; check the path"
        ) from error
    try:
        body = json.loads(content)
        checksum = body.pop("checksum")
        whole = seal(body) == content
    except (ValueError, RecursionError, KeyError, AttributeError, TypeError) as error:
        raise _damaged(path, f"other content ({type(error).__name__})") from error
    if not whole:
        raise _damaged(path, f"checksum {checksum!r} of other bytes")
    return dict(body)


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        f"{path}: expected the manifest as it was written, found {found}; fetch the cache again "
        f"or run `tutelage cache repair {path.parent}`"
    )


def _plain(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a mapping as JSON gives it back, with lists for tuples."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"cache {name}: expected strings, numbers, lists and mappings, found: {error}; "
            "describe the rest in words or by a hash"
        ) from error
    return plain


def _text(body: Mapping[str, Any]) -> bytes:
    return (json.dumps(body, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
