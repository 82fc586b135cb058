"""``tutelage doctor``: what this machine has, and what to do about what it lacks."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import typer

from tutelage.cli.arguments import RUNS, Runs
from tutelage.errors import TutelageError

# What a run folder with its checkpoints takes, with room to spare.
_LEAST_FREE_BYTES = 2**30


def doctor(runs: Runs = RUNS) -> None:
    """Show what this machine has, and what to do about what it lacks."""
    advice: list[str] = []
    for line in _lines(runs, advice):
        typer.echo(line)
    typer.echo("")
    for hint in advice or ["Nothing to do: try `tutelage demo`."]:
        typer.echo(hint)


def _lines(runs: Path, advice: list[str]) -> Iterator[str]:
    import torch

    import tutelage

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield f"tutelage      {tutelage.__version__}"
    yield f"python        {platform.python_version()} at {sys.executable}"
    yield f"torch         {torch.__version__}, {torch.get_num_threads()} threads, {cores} cores"
    yield f"devices       {', '.join(_devices())}"
    for package in ("torchvision", "timm"):
        yield f"{package:13} {_package(package, advice)}"
    yield from _data(advice)
    yield _disk(runs, advice)


def _devices() -> Iterator[str]:
    import torch

    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        yield f"cuda:{index} ({torch.cuda.get_device_name(index)})"
    if torch.backends.mps.is_available():
        yield "mps"
    yield f"cpu ({platform.machine()})"


def _package(name: str, advice: list[str]) -> str:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        advice.append(
            f'{name}: for its models and image folders run pip install "tutelage[vision]"'
        )
        return "not installed (optional)"
    try:
        import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        advice.append(
            f"{name}: it is installed but does not import beside this torch; install both from the "
            "same index (both CPU builds, or both CUDA builds)"
        )
        return f"{version}, broken: {str(error).partition(chr(10))[0]}"
    return version


def _data(advice: list[str]) -> Iterator[str]:
    from tutelage import data

    for name, load in data.index().items():
        if name == "image-folder":
            yield "data          image-folder: any folder of class folders, as data.root=FOLDER"
            continue
        try:
            splits = load()
        except TutelageError as error:
            yield f"data          {name}: not found"
            advice.append(f"{name}: {error}")
        else:
            count = len(splits.train) + len(splits.validation)
            yield f"data          {name}: {count} training and {len(splits.test)} test images"


def _disk(runs: Path, advice: list[str]) -> str:
    place = next(
        folder for folder in (runs.absolute(), *runs.absolute().parents) if folder.is_dir()
    )
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        advice.append(f"{place} is not writable: choose another folder with --runs")
    if free < _LEAST_FREE_BYTES:
        advice.append(f"{place} has little space left: free some, or choose another with --runs")
    return f"disk          {free / 2**30:.1f} GiB free at {place}"
