"""A run folder: where one run keeps its recipe, log, weights and results.

``log.jsonl`` is the source of truth; everything else in the folder can be made from it and the
weights again.
"""

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tutelage.errors import DataError, InputError, ResourceError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# Names that Windows keeps for devices, whatever their suffix.
_RESERVED = {"con", "prn", "aux", "nul"} | {f"{d}{n}" for d in ("com", "lpt") for n in range(1, 10)}


def check_name(name: str) -> str:
    """Return ``name`` if it can name a run folder on any system.

    Raises:
        InputError: If it is empty, absolute, climbs out with ``..``, or holds other characters
            than letters, digits, ``.``, ``_`` and ``-``.

    >>> check_name("digits-01")
    'digits-01'
    """
    if not _NAME.fullmatch(name) or ".." in name or name.split(".")[0].lower() in _RESERVED:
        raise InputError(
            f"run name: expected letters, digits, '.', '_' or '-' (at most 100, no path, no '..'), "
            f"found {name[:120]!r}; choose another --name"
        )
    return name


class RunFolder:
    """The files of one run.

    Args:
        path: An existing run folder; see :meth:`create` for a new one.

    Raises:
        InputError: If there is no such folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"run folder {self.path}: no such folder; list yours with `ls runs`")

    @classmethod
    def create(cls, root: str | Path, name: str, *, counted: bool = False) -> "RunFolder":
        """Make ``root/name`` with its ``checkpoints`` folder and return it.

        Args:
            root: The folder that holds all runs; made if missing.
            name: Name of this run; see :func:`check_name`.
            counted: Append ``-2``, ``-3`` ... while the name is taken, instead of failing.

        Raises:
            InputError: If the name is unsafe, or taken and ``counted`` is false.
            ResourceError: If the disk is full, read-only, or not writable by this user.
        """
        check_name(name)
        for count in range(1, 10_000):
            path = Path(root) / (name if count == 1 else f"{name}-{count}")
            with _writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    path.mkdir()
                except FileExistsError:
                    if counted:
                        continue
                    raise InputError(
                        f"run folder {path}: exists already; choose another --name or remove it"
                    ) from None
                (path / "checkpoints").mkdir()
                # A full disk often still makes folders: find out now, not at the first checkpoint.
                (path / "log.jsonl").write_bytes(b"")
                probe = path / ".probe"
                probe.write_bytes(b"\0" * 65536)
                probe.unlink()
            return cls(path)
        raise InputError(
            f"run folder {Path(root) / name}: 10,000 runs of this name; choose another"
        )

    @property
    def checkpoints(self) -> Path:
        """The folder for checkpoints."""
        return self.path / "checkpoints"

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record to ``log.jsonl`` as one line of JSON.

        Numbers that JSON cannot hold (NaN, infinities) are written as ``null``, and those
        bytes of file names that are no UTF-8 are spelled out.
        """
        line = json.dumps(_plain(record), ensure_ascii=False, allow_nan=False) + "\n"
        with _writing(self.path), (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line)

    def read_log(self) -> list[dict[str, Any]]:
        """Return all records of ``log.jsonl``; a last line cut off by a crash is left out.

        Raises:
            DataError: If a line before the last is not JSON.
        """
        path = self.path / "log.jsonl"
        if not path.is_file():
            raise InputError(f"{path}: no log here; is this a run folder?")
        try:
            lines = path.read_text(encoding="utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}: expected lines of JSON in UTF-8, found other bytes at {error.start}; "
                "this log is damaged: run again"
            ) from None
        records = []
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError as error:
                if number == len(lines):  # no newline after it: the write did not finish
                    break
                raise DataError(f"{path}:{number}: expected a line of JSON: {error}") from None
        return records

    def write_json(self, name: str, content: Mapping[str, Any]) -> Path:
        """Write ``content`` as the JSON file ``name``, whole or not at all."""
        return self.write_text(
            name, json.dumps(_plain(content), indent=1, ensure_ascii=False) + "\n"
        )

    def write_text(self, name: str, content: str) -> Path:
        """Write the text file ``name``, whole or not at all."""
        path = self.path / name
        part = path.with_name(f".{name}.part")
        with _writing(path):
            part.write_text(_printable(content), encoding="utf-8")
            os.replace(part, path)
        return path


def _plain(value: Any) -> Any:
    """Return ``value`` with everything that JSON cannot hold turned into what it can."""
    if isinstance(value, Mapping):
        return {_printable(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | Path):
        return _printable(str(value))
    if hasattr(value, "item"):  # a number of torch or numpy
        return _plain(value.item())
    return value


def _printable(text: str) -> str:
    """Return ``text`` with every half of a surrogate pair spelled out: no encoding takes them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into an error that says where and what to do."""
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"cannot write {path}: {error.strerror or error}; "
            "free some space or choose another folder with --runs"
        ) from error
