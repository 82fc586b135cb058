"""For whom a cache of a teacher's answers was made: fingerprints of teacher, data and augmentation.

A cache is right for one teacher, one set of images, one way of preparing them and one augmentation.
Each is put into a few words and hashes, which stand in the cache and are compared field by field
before anything is trained with it. Versions of libraries stand there too. They only count when the
canaries, views that are drawn again, come out differently.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.cache.differences import diff, refuse, side_by_side
from tutelage.cache.manifest import FORMAT, Manifest
from tutelage.data import ImageData
from tutelage.errors import DataError, TeacherError
from tutelage.teachers import EnsembleTeacher, FrozenTeacher, InputSpec, Teacher
from tutelage.training.canaries import canaries_of, changed_canaries
from tutelage.training.described import described, without_addresses
from tutelage.training.task import digest

_LIBRARIES = ("torch", "torchvision", "timm", "pillow", "numpy")

Fields = dict[str, Any]


def identity_of(teacher: Teacher, data: ImageData, *, views: int, view_seed: int) -> Fields:
    """Return all that a cache says about for whom it was made, as JSON values.

    ``teacher``, ``inputs``, ``data`` and ``augmentation`` must agree for good; ``versions`` and
    ``canaries`` show whether the same words still mean the same pixels.

    Args:
        teacher: A frozen teacher, or an ensemble of them.
        data: The images that it is asked about, with their augmentation.
        views: How many random versions of each.
        view_seed: The seed of those.

    Raises:
        TeacherError: If the teacher has no tensors to tell it by.
        InputError: If the data set cannot tell its content.
    """
    return {
        "teacher": teacher_identity(teacher),
        **data_identity(data),
        "versions": versions(),
        "canaries": canaries_of(data, views=views, view_seed=view_seed),
    }


def check_identity(
    path: str | Path, manifest: Manifest, data: ImageData, *, teacher: Teacher | None = None
) -> None:
    """Raise unless a cache was made for these images, and for this teacher if there is one.

    Args:
        path: The cache, for messages.
        manifest: What it says of itself.
        data: The images of this run, with their augmentation: those that it was built from.
        teacher: The live teacher, if there is one.

    Raises:
        DataError: With the fields that differ side by side; or with the versions of the libraries
            side by side, if nothing differs by name and yet other pixels come out.
        TeacherError: If the teacher has no tensors to tell it by.
    """
    found = manifest.identity
    mine: Fields = {} if teacher is None else {"teacher": teacher_identity(teacher)}
    mine |= data_identity(data)
    refuse(str(path), mine, {name: found.get(name) for name in mine})
    check_canaries(path, manifest, data)


def check_canaries(path: str | Path, manifest: Manifest, data: ImageData) -> None:
    """Raise if the views of a cache would not come out as they did when it was built.

    Args:
        path: The cache, for messages.
        manifest: What it says of itself.
        data: The images of this run, with their augmentation.

    Raises:
        DataError: With the versions of the libraries side by side.
    """
    canaries = manifest.identity.get("canaries", [])
    changed = changed_canaries(data, canaries, view_seed=manifest.layout.view_seed)
    if not changed:
        return
    first = changed[0]
    others = diff(versions(), manifest.identity.get("versions", {}))
    shown = f"\n{side_by_side(others)}\n" if others else " all libraries have the same version; "
    raise DataError(
        f"cache {path}: expected views that come out as when it was built, found other pixels in "
        f"{len(changed)} of {len(canaries)} that were drawn again, first sample {first['id']} in "
        f"view {first['view']}:{shown}install the versions it was built with, undo what changed in "
        "the augmentation or the images, or build it anew"
    )


def teacher_identity(teacher: Teacher) -> Fields:
    """Return the fingerprint of a teacher: every tensor, the architecture, and its conversions.

    Raises:
        TeacherError: If it has no tensors to tell it by, or some that nobody can read yet.
    """
    if isinstance(teacher, EnsembleTeacher):
        return {
            "members": {name: teacher_identity(one) for name, one in teacher.members.items()},
            "mean": teacher.mean,
            "weights": list(teacher.weights),
            "class_axis": teacher.class_axis,
        }
    if not isinstance(teacher, FrozenTeacher):
        raise TeacherError(
            "cache: expected a teacher whose tensors tell it from any other, a FrozenTeacher or an "
            f"EnsembleTeacher of them, found {type(teacher).__name__}; answers that may change "
            "cannot be kept: wrap the module in FrozenTeacher"
        )
    model, classes, engine = teacher.model, teacher.class_map, teacher.engine
    return {
        "model": f"{type(model).__module__}.{type(model).__qualname__}",
        "architecture": _architecture(model),
        "tensors": digest(_tensors(model)),
        "dtype": _dtype(model),
        # As asked for: whether bfloat16 was accurate enough, only a batch shows. Compiling and the
        # layout in memory move the last bits alone and make no other teacher.
        "precision": None if engine is None else engine.precision,
        "class_map": None if classes is None else classes.indices.tolist(),
        "class_axis": None if classes is None else classes.axis,
        "given": _spec(teacher.given),
        "wanted": _spec(teacher.wanted),
    }


def data_identity(data: ImageData) -> Fields:
    """Return what tells the images from any others, how they are prepared, and their augmentation.

    Raises:
        InputError: If the data set cannot tell its content.
    """
    spec, order = data.spec, data.ids.argsort()
    return {
        "inputs": {
            "mean": list(spec.mean),
            "std": list(spec.std),
            "size": list(spec.size),
            "channels": spec.channels,
            **data.preparation(),
        },
        "data": {
            "name": spec.name,
            "count": len(data),
            "ids": digest({"ids": data.ids[order]}),
            "labels": digest({"labels": data.targets[order]}),
            "contents": data.content_digest(),
        },
        "augmentation": {
            "transform": None if data.transform is None else described(data.transform)
        },
    }


def versions() -> dict[str, str]:
    """Return the versions of what can change pixels or logits, and of the cache's format.

    >>> sorted(versions())
    ['cache format', 'numpy', 'pillow', 'timm', 'torch', 'torchvision']
    """
    return {"cache format": str(FORMAT), **{name: _version(name) for name in _LIBRARIES}}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "(absent)"


def _architecture(model: nn.Module) -> str:
    """Return the sha256 of what the model shows of itself, and of the class of each part."""
    classes = [
        f"{name} {type(part).__module__}.{type(part).__qualname__}"
        for name, part in model.named_modules()
    ]
    text = "\n".join([without_addresses(repr(model)), *classes])
    return hashlib.sha256(text.encode()).hexdigest()


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return every tensor of the model by name.

    Raises:
        TeacherError: If there is none, one holds no numbers, or the state holds something else.
    """
    tensors: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    empty = [name for name, value in tensors.items() if value.is_meta]
    other = [name for name, value in model.state_dict().items() if not isinstance(value, Tensor)]
    other += [n for n, t in tensors.items() if n not in empty and not _has_plain_numbers(t)]
    if not tensors or empty or other:
        what = "none at all" if not tensors else f"{', '.join((empty + other)[:5])} without them"
        raise TeacherError(
            "cache: expected a teacher whose every tensor holds plain numbers to tell it by, found "
            f"{what} in {type(model).__name__}; load its weights, make sparse tensors dense, and "
            "dequantise it first"
        )
    return tensors


def _has_plain_numbers(tensor: Tensor) -> bool:
    return not tensor.is_quantized and tensor.layout == torch.strided


def _dtype(model: nn.Module) -> str:
    found = {str(p.dtype).removeprefix("torch.") for p in model.parameters()}
    return ", ".join(sorted(found))


def _spec(spec: InputSpec | None) -> Mapping[str, Any] | None:
    if spec is None:
        return None
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(spec).items()
    }
