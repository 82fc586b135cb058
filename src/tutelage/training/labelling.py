"""The labelling pass: a teacher is asked once about every view of every image, and all is kept."""

import copy
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tutelage import _check
from tutelage.cache import Layout, Manifest, TapSpec, Writer, few_kept
from tutelage.cache.differences import refuse
from tutelage.cache.manifest import FINISHED, load
from tutelage.data import ImageData, check_replayable
from tutelage.data.grid import Grid
from tutelage.errors import InputError, ShapeError, TutelageError
from tutelage.signals import Signals
from tutelage.teachers import FrozenTeacher, Teacher, parts_of
from tutelage.training.distributed import Ranks, open_ranks
from tutelage.training.filling import OnLabelled, fill
from tutelage.training.identity import check_identity, identity_of


@dataclass(frozen=True)
class Labelled:
    """What a labelling pass has done.

    Args:
        path: The cache.
        manifest: What it holds, and for whom.
        rows: All of its rows: one for each view of each sample.
        written: Those that this pass has added, over all processes.
        seconds: How long it took.
        warning: That too little of the teacher's probability is kept, if so.
    """

    path: Path
    manifest: Manifest
    rows: int
    written: int
    seconds: float
    warning: str | None


def label(
    teacher: Teacher,
    data: ImageData,
    path: str | Path,
    *,
    views: int = 1,
    view_seed: int = 0,
    top_k: int | None = None,
    temperatures: Sequence[float] = (),
    dtype: str = "fp32",
    taps: Sequence[str] = (),
    batch_size: int = 64,
    workers: int = 0,
    device: str = "auto",
    about: Mapping[str, Any] | None = None,
    progress: OnLabelled | None = None,
    resume: bool = True,
) -> Labelled:
    """Ask ``teacher`` about every view of every image in ``data``, and keep its answers.

    The images are asked about in a fixed grid: ``batch_size`` samples in the order of their ids, in
    one view. A pass that was killed goes on with the first cell that is not whole, and computes it
    anew: with the same ``batch_size``, device and number of threads the cache ends up the same
    bytes, as far as the device's kernels are reproducible. Under torchrun each process labels a
    range of its own, of the same grid. A cache that is there and finished is checked and left
    alone.

    Args:
        teacher: A frozen teacher, or an ensemble of them. It moves to ``device``.
        data: What to ask about, with its augmentation: the training images.
        path: The folder of the cache.
        views: Random versions of each image; 1 for images without augmentation.
        view_seed: Their seed.
        top_k: How many of the likeliest classes to keep; ``None`` keeps all logits.
        temperatures: With ``top_k``, those that students will train at beside 1.
        dtype: ``"fp32"``, ``"fp16"`` or ``"bf16"``: how numbers are kept.
        taps: Layers of the teacher to keep beside the logits.
        batch_size: Samples per forward pass.
        workers: Processes that read images.
        device: Where the teacher computes; see :func:`tutelage.training.open_ranks`.
        about: What is worth keeping about the teacher, as JSON values: name, params, accuracy.
        progress: Told after each batch.
        resume: Whether to go on with a cache that is there.

    Raises:
        InputError: If the augmentation cannot be replayed, or a number is out of range.
        TeacherError: If nothing tells the teacher from another one, or the processes have
            different teachers.
        TapError: If it has no such layer.
        ShapeError: If its logits are not ``[B, C]``.
        NumericalError: If an answer is not finite, or too large for ``dtype``; names the samples.
        DataError: If the folder holds a cache for something else; names the fields.
        ResourceError: If the disk is full or read-only; before the teacher is asked.
    """
    _check.count(views, "views")
    _check.count(batch_size, "batch_size")
    if views > 1 and data.transform is None:
        raise InputError(
            f"views: expected 1 for images without augmentation, of which all views are the same, "
            f"found {views}; set views=1, or give the data set its augmentation"
        )
    start = time.perf_counter()
    folder, shown = Path(path), copy.copy(data)
    shown.seed = view_seed
    with open_ranks(device) as ranks, _provided(teacher, taps), torch.no_grad():
        teacher.apply_to_tensors(lambda tensor: tensor.to(ranks.device))
        grid = Grid(shown, batch_size)

        def prepared() -> tuple[Layout, dict[str, Any]]:
            check_replayable(shown)
            layout = Layout(
                num_classes=_classes(answer.logits),
                top_k=top_k,
                temperatures=tuple(temperatures),
                dtype=dtype,
                taps=tuple(TapSpec(name, tuple(answer.taps[name].shape[1:])) for name in taps),
                views=views,
                view_seed=view_seed,
            )
            return layout, identity_of(teacher, shown, views=views, view_seed=view_seed)

        answer = ranks.together(lambda: _first_answer(teacher, grid, ranks))
        layout, identity = ranks.together(prepared)
        _check_equal(ranks, identity)
        finished = _finished(ranks, folder, layout, shown, teacher) if resume else None
        if finished is not None:
            return _report(folder, finished, 0, start)
        writer = _open(ranks, folder, layout, shown, identity, resume)
        try:
            written = ranks.together(lambda: fill(writer, teacher, grid, ranks, workers, progress))
            extra = {
                "teacher": dict(about or {}),
                "batch_size": batch_size,
                "device": ranks.device.type,
            }
            if not ranks.is_main:
                writer.close()
            total = sum(ranks.gather(written))
            manifest = ranks.on_main(lambda: writer.finish(extra))
        finally:
            writer.close()
    report = _report(folder, manifest, total, start)
    if report.warning and ranks.is_main:
        warnings.warn(report.warning, stacklevel=2)
    return report


def _open(
    ranks: Ranks,
    folder: Path,
    layout: Layout,
    data: ImageData,
    identity: Mapping[str, Any],
    resume: bool,
) -> Writer:
    """Open the cache on every process, the main one first: it makes the files."""

    def create() -> Writer:
        return Writer.create(
            folder,
            layout,
            data.ids.numpy(),
            identity,
            rank=ranks.rank,
            world_size=ranks.world_size,
            resume=resume,
        )

    mine = ranks.together(lambda: create() if ranks.is_main else None)
    try:
        others = ranks.together(lambda: None if ranks.is_main else create())
    except TutelageError:
        if mine is not None:
            mine.close()
        raise
    writer = mine or others
    assert writer is not None
    return writer


def _finished(
    ranks: Ranks, folder: Path, layout: Layout, data: ImageData, teacher: Teacher
) -> Manifest | None:
    """Return the manifest of a finished cache that is what was asked for, if there is one."""

    def look() -> Manifest | None:
        if not (folder / FINISHED).exists():
            return None
        manifest = load(folder / FINISHED)
        refuse(str(folder), {"layout": layout.to_json()}, {"layout": manifest.layout.to_json()})
        check_identity(folder, manifest, data, teacher=teacher)
        return manifest

    return ranks.on_main(look)


def _check_equal(ranks: Ranks, identity: Mapping[str, Any]) -> None:
    """Raise unless all processes have the same teacher and the same data."""
    first, *others = ranks.gather(identity)
    for rank, other in enumerate(others, start=1):
        refuse(f"of process {rank}, beside that of process 0", first, other)


def _first_answer(teacher: Teacher, grid: Grid, ranks: Ranks) -> Signals:
    """Return the answer to one image, which shows the shapes.

    A teacher that decides by its first batch whether bfloat16 will do is shown a whole cell, the
    same one on all processes and in each pass.
    """
    inputs = grid.read((0, 0)).inputs.to(ranks.device)
    return teacher(inputs if _decides(teacher) else inputs[:1])


def _decides(teacher: Teacher) -> bool:
    engines = [getattr(part, "engine", None) for part in parts_of(teacher)]
    return any(engine is not None and engine.precision is not None for engine in engines)


def _classes(logits: Any) -> int | None:
    if logits is None:
        return None
    if logits.ndim != 2:
        raise ShapeError(
            f"cache: expected a teacher with logits [B, C], found {_check.shape(logits)}; "
            "a cache holds one answer for each image"
        )
    return int(logits.shape[1])


@contextmanager
def _provided(teacher: Teacher, taps: Sequence[str]) -> Iterator[None]:
    """Let the teacher show its taps for a while, and leave it ready to be asked."""
    teacher.provide(list(taps))
    try:
        yield
    finally:
        teacher.close()
        _reopen(teacher)


def _reopen(teacher: object) -> None:
    if isinstance(teacher, FrozenTeacher):
        teacher.freeze()
    for member in getattr(teacher, "inner", ()):
        _reopen(member)


def _report(folder: Path, manifest: Manifest, written: int, start: float) -> Labelled:
    rows = manifest.samples * manifest.layout.views
    seconds = time.perf_counter() - start
    return Labelled(folder, manifest, rows, written, seconds, few_kept(manifest))
