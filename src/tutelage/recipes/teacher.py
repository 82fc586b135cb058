"""The teacher of a run: loaded or trained first, and measured before anyone learns from it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from tutelage.data import ImageData, Splits
from tutelage.distiller import Distiller
from tutelage.losses import CELoss
from tutelage.recipes.build import build_teacher, build_teacher_model, through_conversion
from tutelage.recipes.lookup import check_cache, record_of, teacher_file
from tutelage.recipes.reference import Remembered
from tutelage.recipes.schema import Recipe
from tutelage.runs import RunFolder
from tutelage.teachers import chance_report
from tutelage.training import OnProgress, Ranks, evaluate, fit, save_student

ARM = "teacher"
"""The name under which a teacher's own training is logged."""

TEACHER_FILE = "teacher.safetensors"
"""Where a run folder keeps the teacher that the run has used."""


_TRAIN_SAMPLE = 5000  # training images on which a teacher is measured


@dataclass(frozen=True)
class ReadyTeacher:
    """A teacher that can be learnt from.

    Args:
        model: Its module, on the device of the run; none where all answers come from a cache.
        reference: What agreement is measured against: the same, asked once about each image.
        record: What the run log says about it; nothing where a cache does not know its accuracy.
        warning: That it is near chance, if it is; or that its cache is of something else.
    """

    model: nn.Module | None
    reference: Remembered | None
    record: dict[str, Any] | None
    warning: str | None


def train_teacher(
    recipe: Recipe,
    splits: Splits,
    *,
    run: RunFolder | None = None,
    progress: OnProgress | None = None,
    resume: bool = False,
) -> nn.Module:
    """Return the recipe's teacher, trained as ``teacher.train`` says on all training images.

    It begins with ``teacher.start`` or published weights where the recipe says so, and anew
    otherwise.

    Those are more than the labelled images of the student, and none of validation or test.
    """
    assert recipe.teacher is not None
    assert recipe.teacher.train is not None
    model = build_teacher_model(recipe, splits.spec)
    everything = replace(splits, labelled=splits.train)
    settings = recipe.teacher.train.model_copy(update={"device": recipe.training.device})
    # Trained on the images that it is asked about later, converted as then.
    learner = through_conversion(recipe, model, splits.spec)
    with Distiller(learner, None, [CELoss()]) as distiller:
        result = fit(
            distiller,
            everything,
            settings,
            seed=recipe.seed,
            run=run,
            arm=ARM,
            progress=progress,
            resume=resume,
        )
    learner.load_state_dict(result.student)
    return model


def ready_teacher(
    recipe: Recipe,
    splits: Splits,
    ranks: Ranks,
    *,
    run: RunFolder | None = None,
    progress: OnProgress | None = None,
    resume: bool = False,
    before: Callable[[], None] | None = None,
) -> ReadyTeacher:
    """Return the teacher of a run, trained first if the recipe says so, and its accuracy.

    Args:
        recipe: A recipe with a teacher.
        splits: Its data.
        ranks: The processes of the run.
        run: Where its training is logged.
        progress: Told about its training.
        resume: Take the teacher that ``run`` keeps already, or go on from its checkpoint.
        before: Called if it has to be trained, before that.
    """
    assert recipe.teacher is not None
    if recipe.teacher.is_only_cached:
        stale = check_cache(recipe.teacher, splits, None)
        return ReadyTeacher(None, None, record_of(recipe.teacher), stale)
    start = time.perf_counter()
    model, source = _model_of(recipe, splits, run, progress, resume, before)
    if ranks.is_main and recipe.teacher.cache is not None and source.endswith("by this run"):
        beside = teacher_file(recipe)
        assert beside is not None
        save_student(beside, model.state_dict())
    seconds = time.perf_counter() - start
    model = model.to(ranks.device)
    frozen = build_teacher(recipe, model, splits.spec).to(ranks.device)
    stale = check_cache(recipe.teacher, splits, frozen)
    reference = Remembered(frozen)
    accuracy = {
        part: evaluate(
            frozen if part == "train" else reference,
            spread(splits.train, _TRAIN_SAMPLE) if part == "train" else getattr(splits, part),
            device=ranks.device,
            workers=recipe.training.workers,
        ).accuracy
        for part in ("train", "validation", "test")
    }
    record = {
        "kind": "teacher",
        "name": _name_of(recipe),
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "accuracy": accuracy,
        "seconds": seconds,
        "source": source,
    }
    count, classes = len(splits.validation), splits.spec.num_classes
    warning = chance_report(accuracy["validation"], num_classes=classes, n=count)
    return ReadyTeacher(model, reference, record, stale or warning)


def spread(data: ImageData, most: int) -> ImageData:
    """Return at most ``most`` samples of ``data``, taken at equal distances."""
    if len(data) <= most:
        return data
    return data.subset(torch.linspace(0, len(data) - 1, most).long())


def _model_of(
    recipe: Recipe,
    splits: Splits,
    run: RunFolder | None,
    progress: OnProgress | None,
    resume: bool,
    before: Callable[[], None] | None,
) -> tuple[nn.Module, str]:
    """Return the teacher's module with its weights, and where they come from."""
    settings = recipe.teacher
    assert settings is not None
    kept = run.path / TEACHER_FILE if run is not None and resume else None
    if kept is not None and kept.is_file():
        model = build_teacher_model(recipe.with_teacher_from(kept), splits.spec)
        return model, "kept by this run"
    beside = teacher_file(recipe)
    is_trained = settings.train is not None and settings.weights is None
    if is_trained and beside is not None and beside.is_file():
        model = build_teacher_model(recipe.with_teacher_from(beside), splits.spec)
        return model, f"kept beside its cache, {beside}"
    if not is_trained:
        return build_teacher_model(recipe, splits.spec), settings.weights or "published weights"
    if before is not None:
        before()
    model = train_teacher(recipe, splits, run=run, progress=progress, resume=resume)
    if settings.start is not None:
        return model, f"{settings.start}, fine-tuned by this run"
    if settings.pretrained:
        return model, "published weights, fine-tuned by this run"
    return model, "trained by this run"


def _name_of(recipe: Recipe) -> str:
    assert recipe.teacher is not None
    return recipe.teacher.model
