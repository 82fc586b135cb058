"""Read tensors from a weight file, and never run what the file contains."""

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tutelage.errors import DataError, InputError

# Under these names common training scripts nest the weights in a checkpoint.
_NESTS = ("state_dict", "model_state_dict", "model", "student", "module", "net", "weights")
# These stand before every key once DistributedDataParallel or torch.compile wrapped the model.
_WRAPPERS = ("module.", "_orig_mod.")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a weight file by name, on the CPU.

    safetensors files are recognised by suffix or content. Anything else is read with
    ``torch.load(weights_only=True)``, which refuses pickles that want to run code; a refusal is
    final. Checkpoints that nest the weights (under ``state_dict``, ``model``, ...) are opened,
    and the prefixes that DistributedDataParallel and torch.compile put before every name are
    removed.

    Raises:
        InputError: There is no such file.
        DataError: The file is damaged, holds no tensors, or wants to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path}: expected a file of weights, found "
            f"{'a folder' if path.is_dir() else 'nothing'}; check the path"
        )
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    weights = {name: value for name, value in _unnest(content).items() if _is_entry(name, value)}
    if not weights:
        found = ", ".join(map(repr, list(content)[:5])) or "nothing"
        raise DataError(
            f"{path}: expected named tensors, found {found}; save model.state_dict() and pass that"
        )
    return _unwrap(weights)


def _is_entry(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _is_safetensors(path: Path) -> bool:
    """The format begins with the length of its header (8 bytes) and the header's brace."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"{path}: expected a whole safetensors file, found a damaged or truncated one "
            f"({error}); copy or download it again"
        ) from error


def _read_pickle(path: Path) -> Mapping[str, Any]:
    if _torch_version() < (2, 10):
        warnings.warn(
            f"torch {torch.__version__} has a known fault in the reader of .pt and .pth files "
            f"(CVE-2026-24747): read {path.name} only if you trust it, or use safetensors",
            stacklevel=3,
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # One exception type stands for two very different events. A file that asks for an object
        # outside torch's allow-list is never read again with the guard down.
        if "nsupported" in str(error) or "not an allowed" in str(error):
            raise _refused(path, error) from error
        raise _damaged(path, error) from error
    except Exception as error:  # a flipped bit makes torch's reader fail in any way
        if "TorchScript" in str(error):
            raise DataError(
                f"{path}: expected named tensors, found a TorchScript program, which could run "
                "code; where you trust it, save torch.jit.load(path).state_dict() and pass that"
            ) from error
        raise _damaged(path, error) from error
    if not isinstance(content, Mapping):
        raise DataError(
            f"{path}: expected named tensors, found {type(content).__name__}; "
            "save model.state_dict() and pass that"
        )
    return content


def _refused(path: Path, error: Exception) -> DataError:
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    found = f"the object {named[1]}" if named else "an object"
    return DataError(
        f"{path}: refused, and nothing in it was executed: it holds {found} beside tensors, and "
        "building such objects can run code; convert it to safetensors where you trust it, or "
        "save model.state_dict() alone"
    )


def _damaged(path: Path, error: Exception) -> DataError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DataError(
        f"{path}: expected weights saved by torch.save or safetensors, found a damaged or "
        f"truncated file ({reason}); copy or download it again"
    )


def _torch_version() -> tuple[int, int]:
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def _unnest(content: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in _NESTS:
        inner = content.get(name)
        if isinstance(inner, Mapping):
            return _unnest(inner)
    return content


def _unwrap(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in weights):
            return _unwrap({name.removeprefix(prefix): value for name, value in weights.items()})
    return weights
