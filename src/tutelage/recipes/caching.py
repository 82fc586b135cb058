"""The cache of a recipe's teacher: what it has to hold, where it is, and how it is built."""

import copy
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.cache import Layout, Manifest
from tutelage.cache.reader import find_manifest
from tutelage.data import ImageData, Splits
from tutelage.errors import RecipeError, ResourceError
from tutelage.recipes.build import build_splits, build_teacher, build_teacher_model
from tutelage.recipes.lookup import dtype_of, teacher_file, view_seed_of
from tutelage.recipes.needs import taps_of, temperatures_of
from tutelage.recipes.schema import Recipe
from tutelage.recipes.teacher import ready_teacher, spread
from tutelage.recipes.threads import threads
from tutelage.recipes.watch import Watch
from tutelage.signals import SparseLogits
from tutelage.taps import Taps
from tutelage.teachers import CachedTeacher, Teacher
from tutelage.training import open_ranks
from tutelage.training.identity import check_identity
from tutelage.training.labelling import Labelled, label

CACHES = Path("caches")
"""The folder of caches that nobody gave a place."""

_ASKED, _VIEWS = 64, 4  # images, and views of each, about which a teacher is asked again


def place_of(recipe: Recipe) -> Path:
    """Return where the cache of a recipe's teacher is: as it says, or ``caches/<its name>``."""
    if recipe.teacher is not None and recipe.teacher.cache is not None:
        return Path(recipe.teacher.cache.path)
    return CACHES / recipe.name


def build_cache(
    recipe: Recipe,
    path: Path,
    *,
    views: int | None = None,
    top_k: int | None = None,
    dtype: str | None = None,
    temperatures: Iterable[float] = (),
    taps: Iterable[str] = (),
    batch_size: int | None = None,
    watch: Watch | None = None,
) -> Labelled:
    """Ask the recipe's teacher about every view of every training image, and keep its answers.

    Layers and temperatures that the recipe's terms read are kept without being asked for. A
    teacher that is trained first is kept beside the cache, so that a second call goes on with it.

    Args:
        recipe: Its data, its teacher and its terms.
        path: The cache's folder.
        views: Random versions of each image; default: the recipe's ``training.views``, or 1.
        top_k: How many classes to keep; default: all.
        dtype: How numbers are kept: ``fp32``, ``fp16`` (default with ``top_k``) or ``bf16``.
        temperatures: More of them, for later trainings.
        taps: More of the teacher's layers, for later trainings.
        batch_size: Images that the teacher is asked about at once; default: the training's. The
            last bits of an answer may depend on it.
        watch: Told what happens.

    Raises:
        TutelageError: If the teacher, the data or the disk cannot be used.
    """
    watch = watch or Watch()
    if recipe.teacher is None or recipe.teacher.is_only_cached:
        raise RecipeError(
            f"recipe {recipe.name}: expected a teacher to ask, found "
            f"{'none' if recipe.teacher is None else 'only its cache'}; give teacher.model"
        )
    settings = recipe.teacher.cache
    top_k = top_k or (settings.top_k if settings else None)
    views = views or (settings.views if settings else None) or recipe.training.views or 1
    with threads(recipe.threads), open_ranks(recipe.training.device) as ranks:
        splits = build_splits(recipe, recipe.seed)
        classes = splits.spec.num_classes
        if top_k is not None and top_k >= classes:
            watch.say(f"the {top_k} likeliest of {classes} classes are all of them: all are kept")
            top_k = None
        # All that can be refused comes before a teacher is trained for an hour.
        temperatures = sorted({*temperatures, *(temperatures_of(recipe) if top_k else ())})
        taps = tuple(dict.fromkeys((*taps_of(recipe), *taps)))
        dtype = dtype_of(dtype or (settings.dtype if settings else None), top_k)
        Layout(
            num_classes=classes,
            top_k=top_k,
            temperatures=tuple(temperatures),
            dtype=dtype,
            views=views,
        )
        Taps(build_teacher_model(recipe.without_weights(), splits.spec), taps).close()
        _check_place(path)
        ready = ready_teacher(
            recipe.with_cache(path),
            splits,
            ranks,
            progress=watch.progress,
            before=lambda: watch.begin("teacher", 1, 1),
        )
        assert ready.model is not None
        if ready.warning:
            watch.say(f"warning: {ready.warning}")
        watch.say(f"asking the teacher about {len(splits.train):,} images x {views} views")
        teacher = build_teacher(recipe, ready.model, splits.spec).to(ranks.device)
        with teacher:
            return label(
                teacher,
                splits.train,
                path,
                views=views,
                view_seed=view_seed_of(recipe),
                top_k=top_k,
                temperatures=temperatures,
                dtype=dtype,
                taps=taps,
                batch_size=batch_size or recipe.training.batch_size,
                workers=recipe.training.workers,
                device=recipe.training.device,
                about=ready.record,
                progress=lambda done, total: watch.progress(0, done, total, "images: asked"),
            )


def _check_place(path: Path) -> None:
    """Raise unless the cache's folder can be made and written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        if not any(path.iterdir()):
            path.rmdir()
    except OSError as error:
        raise ResourceError(
            f"cache {path}: expected a folder that can be written, found {error.strerror or error};"
            " choose another one with --to"
        ) from None


def compare_cache(recipe: Recipe, path: Path) -> Iterator[tuple[str, str]]:
    """Compare a cache with a recipe's data, views and teacher, and ask for some rows again.

    Yields:
        What was compared, as pairs of a heading and a sentence.

    Raises:
        DataError: If something differs; names the fields side by side.
        InputError: If there is no finished cache.
    """
    manifest = find_manifest(path, partial=False)
    recipe = recipe.with_cache(path)
    with threads(recipe.threads), open_ranks(recipe.training.device) as ranks:
        splits = build_splits(recipe, recipe.seed)
        model = _model(recipe, splits)
        if model is None:
            check_identity(path, manifest, splits.train)
            yield "same", "data, views and augmentation; no teacher is at hand to compare"
            return
        with build_teacher(recipe, model, splits.spec).to(ranks.device) as teacher:
            check_identity(path, manifest, splits.train, teacher=teacher)
            yield "same", "teacher, data, views and augmentation"
            yield "asked again", _asked_again(path, splits.train, teacher, ranks.device)


def _model(recipe: Recipe, splits: Splits) -> nn.Module | None:
    """Return the teacher's module, if its weights are there without training it."""
    settings = recipe.teacher
    if settings is None or settings.is_only_cached or settings.cache is None:
        return None
    if settings.train is not None and settings.weights is None:
        beside = teacher_file(recipe)
        if beside is None or not beside.is_file():
            return None
        recipe = recipe.with_teacher_from(beside)
    return build_teacher_model(recipe, splits.spec)


def _asked_again(path: Path, data: ImageData, teacher: Teacher, device: torch.device) -> str:
    """Ask the teacher about a few images in each view, and say how far its answers are off."""
    with CachedTeacher(path) as cached, torch.no_grad():
        chosen = spread(copy.copy(data), _ASKED)
        chosen.seed, worst, agreed, count = cached.layout.view_seed, 0.0, 0, 0
        for view in range(min(cached.layout.views, _VIEWS)):
            chosen.set_view(view)
            cached.set_view(view)
            batch = chosen.__getitems__(range(len(chosen))).to(device)
            mine, kept = teacher(batch.inputs).logits, cached(batch.inputs, batch.ids).logits
            if not isinstance(mine, Tensor) or kept is None:
                return "no logits to compare"
            expected = mine.float().log_softmax(-1)
            if isinstance(kept, SparseLogits):
                found, first = kept.log_probs, kept.ids.gather(-1, kept.log_probs.argmax(-1, True))
                expected = expected.gather(-1, kept.ids)
            else:
                found, first = kept.float().log_softmax(-1), kept.argmax(-1, True)
            worst = max(worst, float((found - expected).abs().max()))
            agreed += int((first.flatten() == mine.argmax(-1)).sum())
            count += len(batch)
    return (
        f"{count} rows: log-probabilities off by {worst:.1e} at most, "
        f"{agreed / count:.1%} of the likeliest classes the same"
    )


def describe_cache(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what a cache says of itself, as pairs of a heading and a sentence.

    Raises:
        InputError: If there is none.
        DataError: If its manifest is damaged.
    """
    manifest = find_manifest(path, partial=True)
    layout, extra = manifest.layout, manifest.extra
    rows = manifest.samples * layout.views
    state = "complete" if manifest.finished else "being built"
    yield "cache", f"{path}, {state}"
    yield from _teacher_lines(manifest)
    data = manifest.identity.get("data", {})
    yield (
        "data",
        f"{data.get('name', 'unknown')}: {manifest.samples:,} images x {layout.views} views",
    )
    yield "augmentation", _short(manifest.identity.get("augmentation", {}).get("transform"))
    yield "keeps", _kept(manifest)
    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    yield (
        "size",
        f"{size / 1e6:,.1f} MB in {manifest.shards} shards, {size / rows:.1f} bytes a view "
        f"({layout.row_bytes} of them the row)",
    )
    mass = extra.get("kept_mass")
    if isinstance(mass, dict):
        yield "kept mass", ", ".join(f"{name} {value:.4f}" for name, value in mass.items())
    versions = manifest.identity.get("versions", {})
    yield "made with", ", ".join(f"{name} {value}" for name, value in versions.items())


def _teacher_lines(manifest: Manifest) -> Iterator[tuple[str, str]]:
    record: Any = manifest.extra.get("teacher")
    identity = manifest.identity.get("teacher", {})
    if isinstance(record, dict) and "accuracy" in record:
        accuracy = record["accuracy"]
        yield (
            "teacher",
            f"{record['name']}: {record['params']:,} parameters, {accuracy['test']:.1%} on the "
            f"test set, {accuracy['validation']:.1%} on validation",
        )
    elif "model" in identity:
        yield "teacher", str(identity["model"])
    if "tensors" in identity:
        yield "fingerprint", str(identity["tensors"])[:16]


def _kept(manifest: Manifest) -> str:
    layout = manifest.layout
    if layout.num_classes is None:
        words = "no logits"
    elif layout.kept is None:
        words = f"all {layout.num_classes} logits as {layout.dtype}"
    else:
        at = f", exact at temperatures {_numbers((1.0, *layout.temperatures))}"
        words = f"the likeliest {layout.kept} of {layout.num_classes} classes as {layout.dtype}{at}"
    taps = [f"{tap.name} {list(tap.shape)}" for tap in layout.taps]
    return f"{words}; layers {', '.join(taps)}" if taps else words


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _short(value: object) -> str:
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."
