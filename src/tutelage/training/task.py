"""What a training learns, in a few words and sums: a checkpoint of another task is refused."""

import hashlib
import json

import torch
from torch import Tensor

from tutelage.data import ImageData
from tutelage.distiller import Distiller
from tutelage.teachers import Teacher, kept_identity, parts_of
from tutelage.training.described import without_addresses

_SAMPLED = 256  # elements of each of the teacher's tensors that are looked at


def describe_task(distiller: Distiller, labelled: ImageData, total_steps: int) -> dict[str, object]:
    """Return what must be the same when a training goes on from a checkpoint.

    Args:
        distiller: Its objective counts by what ``repr`` shows of it, its teacher by a sum over
            a part of each tensor; a teacher without tensors, as a callable one, is not compared.
            One with a cache is the teacher whose answers the cache holds, asked or looked up.
        labelled: The images that are trained on; their ids and labels count.
        total_steps: Optimiser steps of the whole training.
    """
    return {
        # Functions are shown with their place in memory, which differs between processes.
        "objective": without_addresses(repr(distiller.objective)),
        "total_steps": total_steps,
        "training images": digest({"ids": labelled.ids, "labels": labelled.targets})[:16],
        "teacher": _fingerprint(distiller.teacher),
    }


def digest(tensors: dict[str, Tensor]) -> str:
    """Return the sha256 over names, dtypes, shapes and content."""
    total = hashlib.sha256()
    for name, tensor in tensors.items():
        total.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(flat.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _fingerprint(teacher: Teacher | None) -> str | None:
    """Return a cheap sum over what tells the teacher from another training of it."""
    parts = [] if teacher is None else [_part(part) for part in parts_of(teacher)]
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return known[0] if len(parts) == 1 else hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _part(teacher: Teacher) -> str | None:
    identity = kept_identity(teacher)
    if identity is not None:
        text = json.dumps(identity["teacher"], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
    sampled: dict[str, Tensor] = {}
    for name, tensor in teacher.named_tensors():
        flat = tensor.detach().reshape(-1)
        step = max(1, len(flat) // _SAMPLED)
        sampled[f"{name} {list(tensor.shape)}"] = flat[::step]
    return digest(sampled)[:16] if sampled else None
