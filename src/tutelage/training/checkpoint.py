"""Checkpoints that are whole or absent, and known to be undamaged when they are read.

One checkpoint is a folder::

    step-00000600/
      model.safetensors   student, projectors and what losses learn; no teacher
      best.safetensors    the student that was best on validation so far, if any
      state.pt            optimiser, scheduler, scaler, progress, random state; tensors and numbers
      manifest.json       sha256 of the others, written last

It is written under another name, flushed to the disk, and renamed. Neither safetensors nor
``torch.load`` notices a flipped bit, so every read compares the sums first.
"""

import hashlib
import io
import json
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from tutelage.errors import DataError, ResourceError
from tutelage.training.durable import State, cannot_write, pack, sync_folder, write_synced

_FORMAT = 1
_NAME = re.compile(r"step-(\d{8,})")
_NEEDED = {"model.safetensors", "state.pt"}
_FILES = {*_NEEDED, "best.safetensors"}


def save_checkpoint(
    folder: Path,
    step: int,
    *,
    model: State,
    best: State | None,
    state: Mapping[str, Any],
    keep: int = 2,
) -> Path:
    """Write the checkpoint of optimiser step ``step`` into ``folder`` and return its path.

    Args:
        folder: Where the checkpoints of one training lie; made if missing.
        step: Optimiser steps done.
        model: The distiller's state.
        best: The best student's state.
        state: The rest: tensors, numbers, strings, lists and dicts only.
        keep: How many of the newest checkpoints stay.

    Raises:
        ResourceError: If the disk is full or refuses. Older checkpoints are then untouched.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    # Through memory, because torch.save reports a full disk as an internal error of its own.
    files = {"model.safetensors": pack(model), "state.pt": buffer.getvalue()}
    if best is not None:
        files["best.safetensors"] = pack(best)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = {"format": _FORMAT, "step": step, "sha256": sums}
    files["manifest.json"] = json.dumps(manifest, indent=1).encode()
    final = folder / f"step-{step:08d}"
    part = folder / f".{final.name}.part"
    try:
        _clear(part)
        part.mkdir(parents=True)
        for name, content in files.items():
            write_synced(part / name, content)
        sync_folder(part)
        _clear(final)
        os.replace(part, final)
        sync_folder(folder)
        for old in _listed(folder)[keep:]:
            _clear(old)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise cannot_write(final, error) from error
    return final


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest undamaged checkpoint in ``folder``, or ``None`` if there is none at all.

    A damaged one is passed over with a warning.

    Raises:
        DataError: If there are checkpoints and all are damaged.
        ResourceError: If one cannot be read, which says nothing about its content.
    """
    found = _listed(folder)
    problems = []
    for path in found:
        try:
            _verified(path)
        except DataError as error:
            problems.append(str(error))
            continue
        for problem in problems:
            warnings.warn(f"{problem}; going on from {path.name}", stacklevel=2)
        return path
    if found:
        raise DataError(
            f"checkpoints in {folder}: expected an undamaged one, found {len(found)} damaged: "
            f"{'; '.join(problems)}; train again without resuming"
        )
    return None


def load_checkpoint(
    path: Path,
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None, dict[str, Any]]:
    """Return ``(model, best, state)`` of a checkpoint, after comparing all sums.

    Raises:
        DataError: If a file is missing, damaged, or not in this format. It is named.
        ResourceError: If a file cannot be read.
    """
    files = _verified(path)
    model = safetensors.torch.load(files["model.safetensors"])
    packed = files.get("best.safetensors")
    best = None if packed is None else safetensors.torch.load(packed)
    # The sums are right, so this file is ours; weights_only still keeps code out of it.
    state = torch.load(io.BytesIO(files["state.pt"]), map_location="cpu", weights_only=True)
    return model, best, state


def _verified(path: Path) -> dict[str, bytes]:
    """Return the content of all files of a checkpoint whose sums are right."""
    content = _read(path / "manifest.json")
    try:
        manifest = json.loads(content)
        version, sums = manifest["format"], dict(manifest["sha256"])
        if not all(isinstance(value, str) for value in sums.values()):
            raise TypeError("a sum that is no text")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"checkpoint {path / 'manifest.json'}: expected a manifest, found: {error}; "
            "use an older checkpoint"
        ) from None
    if version != _FORMAT:
        raise DataError(
            f"checkpoint {path}: expected format {_FORMAT}, found {version}; "
            "read it with the version of tutelage that wrote it"
        )
    if not _NEEDED <= set(sums) <= _FILES:
        raise DataError(
            f"checkpoint {path}: expected the files of a checkpoint, found {sorted(sums)}; "
            "use an older checkpoint"
        )
    files = {name: _read(path / name) for name in sums}
    for name, content in files.items():
        found = hashlib.sha256(content).hexdigest()
        if found != sums[name]:
            raise DataError(
                f"checkpoint {path / name}: damaged: expected sha256 {sums[name][:12]}..., "
                f"found {found[:12]}... over {len(content)} bytes; use an older checkpoint"
            )
    return files


def _listed(folder: Path) -> list[Path]:
    """Return the checkpoints in ``folder``, newest first; what else lies there is left alone."""
    if not folder.is_dir():
        return []
    names = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir() if path.is_dir())
    found = [(int(match[1]), path) for match, path in names if match]
    return [path for _, path in sorted(found, reverse=True)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"checkpoint {path}: this file is missing; use an older one") from None
    except OSError as error:
        raise ResourceError(f"cannot read {path}: {error.strerror or error}; check it") from error


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
