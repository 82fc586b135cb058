"""The teacher of a recipe whose answers are on disk, or are on their way there."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tutelage.cache.reader import find_manifest
from tutelage.data import Splits
from tutelage.errors import DataError, InputError
from tutelage.recipes.needs import temperatures_of
from tutelage.recipes.parts import TeacherSettings
from tutelage.recipes.schema import Recipe
from tutelage.teachers import CachedTeacher, FrozenTeacher, Teacher, WritingTeacher
from tutelage.training.identity import check_identity, identity_of

Live = Callable[[], FrozenTeacher]


def is_complete(settings: TeacherSettings) -> bool:
    """Return whether there is a cache that holds every answer."""
    if settings.cache is None:
        return False
    try:
        return find_manifest(Path(settings.cache.path), partial=True).finished
    except InputError:  # there is none yet
        return False


def without_unwritten(recipe: Recipe) -> Recipe:
    """Return a recipe that fills no cache: for whoever only looks whether the pieces fit."""
    teacher = recipe.teacher
    if teacher is None or teacher.is_only_cached or is_complete(teacher):
        return recipe
    return recipe.with_cache(None)


def teacher_file(recipe: Recipe) -> Path | None:
    """Return the file beside a recipe's cache with the teacher that a run trains for it.

    Its name holds a hash of all that the training depends on, so that a teacher of other settings
    or other data is never taken for it.
    """
    if recipe.teacher is None or recipe.teacher.cache is None:
        return None
    tree = recipe.as_tree()
    tree["teacher"].pop("cache")
    tree["data"].pop("labelled", None)  # the teacher learns from all training images
    kept = {key: tree.get(key) for key in ("teacher", "data", "seed")}
    code = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:8]
    folder = Path(recipe.teacher.cache.path)
    return folder.with_name(f"{folder.name}.teacher-{code}.safetensors")


def dtype_of(dtype: str | None, top_k: int | None) -> str:
    """Return how numbers are kept where nobody says: rounded only where classes are left out."""
    return dtype or ("fp32" if top_k is None else "fp16")


def view_seed_of(recipe: Recipe) -> int:
    """Return the seed of the random views that a cache of the recipe's teacher holds."""
    seed = recipe.training.view_seed
    return recipe.seed if seed is None else seed


def answering(recipe: Recipe, splits: Splits, live: Live | None) -> Teacher | None:
    """Return the teacher that a student is trained with; ``None`` where there is none to ask.

    Args:
        recipe: The recipe.
        splits: The data; a cache holds answers about all training images.
        live: Builds the teacher that computes its answers, if there is a model.

    Raises:
        InputError: If there is neither a model nor a complete cache.
    """
    settings = recipe.teacher
    assert settings is not None
    cache = settings.cache
    if cache is None:
        return None if live is None else live()
    if is_complete(settings) or settings.is_only_cached:
        asks = cache.on_miss == "teacher" and live is not None
        return CachedTeacher(
            cache.path, on_miss=live() if asks and live else "error", outside=cache.outside
        )
    if live is None:
        return None
    teacher = live()
    seed = view_seed_of(recipe)
    return WritingTeacher(
        teacher,
        cache.path,
        ids=splits.train.ids,
        identity=identity_of(teacher, splits.train, views=cache.views, view_seed=seed),
        views=cache.views,
        view_seed=seed,
        top_k=cache.top_k,
        num_classes=splits.spec.num_classes,
        temperatures=temperatures_of(recipe) if cache.top_k else (),
        dtype=dtype_of(cache.dtype, cache.top_k),
        outside=cache.outside,
        about={"name": settings.model},
    )


def check_cache(
    settings: TeacherSettings, splits: Splits, live: FrozenTeacher | None
) -> str | None:
    """Compare a complete cache with the run's data, views and teacher.

    Returns:
        What differs, where ``allow_stale`` lets it; else ``None``.

    Raises:
        DataError: If something differs.
    """
    cache = settings.cache
    if cache is None or not is_complete(settings):
        return None
    manifest = find_manifest(Path(cache.path), partial=False)
    try:
        check_identity(cache.path, manifest, splits.train, teacher=live)
    except DataError as error:
        if not cache.allow_stale:
            raise
        return str(error)
    return None


def record_of(settings: TeacherSettings) -> dict[str, Any] | None:
    """Return what a cache knows of its teacher's accuracy, as a record of a run's log."""
    assert settings.cache is not None
    manifest = find_manifest(Path(settings.cache.path), partial=False)
    record: Any = manifest.extra.get("teacher")
    if not isinstance(record, dict) or "accuracy" not in record:
        return None
    return {**record, "seconds": 0.0, "source": f"cache {settings.cache.path}"}
