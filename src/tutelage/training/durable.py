"""Files that are whole or absent: written beside, flushed to the disk, then renamed."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import safetensors.torch
from torch import Tensor

from tutelage.errors import InputError, ResourceError

State = Mapping[str, Tensor]


def save_student(path: str | Path, state: State) -> Path:
    """Write a student's state as one safetensors file, whole or not at all, and return its path.

    It loads into the bare model: ``model.load_state_dict(safetensors.torch.load_file(path))``.

    Raises:
        InputError: If an entry of the state is no tensor.
        ResourceError: If the disk is full or refuses.
    """
    final = Path(path)
    part = final.with_name(f".{final.name}.part")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        write_synced(part, pack(state))
        os.replace(part, final)
        sync_folder(final.parent)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise cannot_write(final, error) from error
    return final


def check_tensors(state: Mapping[str, object]) -> None:
    """Raise unless every entry of a state is a tensor: checkpoints hold nothing else.

    Raises:
        InputError: Naming the entries.
    """
    others = [f"{k} ({type(v).__name__})" for k, v in state.items() if not isinstance(v, Tensor)]
    if others:
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        raise InputError(
            f"state: expected tensors only, as checkpoints hold them, found "
            f"{', '.join(others[:5])}{more}; let get_extra_state() return a tensor"
        )


def pack(state: State) -> bytes:
    """Return ``state`` as the bytes of a safetensors file.

    Raises:
        InputError: If an entry is no tensor.
    """
    check_tensors(state)
    # Cloned, because safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
    return safetensors.torch.save(tensors)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names, so that a rename survives a power cut."""
    if os.name == "nt":  # Windows cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cannot_write(path: Path, error: OSError) -> ResourceError:
    """Return the error for a disk that refused, which says where and what to do."""
    return ResourceError(
        f"cannot write {path}: {error.strerror or error}; earlier files are untouched; "
        "free some space or choose another folder with --runs"
    )
