"""The teacher of a run: loaded or trained first, and measured before anyone learns from it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from tutelage.data import Splits
from tutelage.distiller import Distiller
from tutelage.losses import CELoss
from tutelage.recipes.build import build_teacher, build_teacher_model
from tutelage.recipes.schema import Recipe
from tutelage.runs import RunFolder
from tutelage.teachers import FrozenTeacher, chance_report
from tutelage.training import OnProgress, evaluate, fit

ARM = "teacher"
"""The name under which a teacher's own training is logged."""


@dataclass(frozen=True)
class ReadyTeacher:
    """A teacher that can be learnt from.

    Args:
        model: Its module, on the device of the run.
        frozen: The same as a teacher: what agreement is measured against.
        record: What the run log says about it.
        warning: That it is near chance, if it is.
    """

    model: nn.Module
    frozen: FrozenTeacher
    record: dict[str, Any]
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

    Those are more than the labelled images of the student, and none of validation or test.
    """
    assert recipe.teacher is not None
    assert recipe.teacher.train is not None
    model = build_teacher_model(recipe, splits.spec)
    everything = replace(splits, labelled=splits.train)
    settings = recipe.teacher.train.model_copy(update={"device": recipe.training.device})
    with Distiller(model, None, [CELoss()]) as distiller:
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
    model.load_state_dict(result.student)
    return model


def ready_teacher(
    recipe: Recipe,
    splits: Splits,
    device: torch.device,
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
        device: Where it is to run.
        run: Where its training is logged.
        progress: Told about its training.
        resume: Go on from its checkpoint.
        before: Called if it has to be trained, before that.
    """
    settings, start = recipe.teacher, time.perf_counter()
    assert settings is not None
    if settings.train is not None and settings.weights is None:
        if before is not None:
            before()
        model = train_teacher(recipe, splits, run=run, progress=progress, resume=resume)
        source = "trained by this run"
    else:
        model = build_teacher_model(recipe, splits.spec)
        source = settings.weights or "published weights"
    seconds = time.perf_counter() - start
    frozen = build_teacher(recipe, model.to(device), splits.spec).to(device)
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    accuracy = {
        name: evaluate(
            frozen, data, device=device, workers=recipe.training.workers
        ).accuracy
        for name, data in parts.items()
    }
    record = {
        "kind": "teacher",
        "name": settings.model,
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "accuracy": accuracy,
        "seconds": seconds,
        "source": source,
    }
    count, classes = len(splits.validation), splits.spec.num_classes
    warning = chance_report(accuracy["validation"], num_classes=classes, n=count)
    return ReadyTeacher(model, frozen, record, warning)
