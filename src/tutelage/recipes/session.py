"""What every run has: its processes and threads, and the head and the end of its log."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from tutelage.data import Splits
from tutelage.errors import RecipeError
from tutelage.recipes.build import build_splits, build_student, build_teacher_model
from tutelage.recipes.environment import environment
from tutelage.recipes.fitting import faults_of_fit
from tutelage.recipes.schema import Recipe
from tutelage.recipes.threads import threads
from tutelage.runs import RunFolder
from tutelage.training import Ranks, open_ranks


@contextmanager
def session(
    recipe: Recipe, folder: RunFolder | None, command: str
) -> Iterator[tuple[Ranks, Splits]]:
    """Open the processes, write the head and the end of the log, and give the data."""
    with threads(recipe.threads), open_ranks(recipe.training.device) as ranks:
        log = folder if ranks.is_main else None
        splits = build_splits(recipe, recipe.seed)
        _refuse_what_does_not_fit(recipe, splits)
        if log is not None:
            _write_head(recipe, log, command, splits)
        try:
            yield ranks, splits
        except BaseException as error:
            if log is not None:
                log.log({"kind": "end", "status": "failed", "error": _words(error)})
            raise
        if log is not None:
            log.log({"kind": "end", "status": "ok", "error": None})


def _refuse_what_does_not_fit(recipe: Recipe, splits: Splits) -> None:
    """Find a wrong layer or shape now, and not after the teacher was trained for an hour."""
    student = build_student(recipe, splits.spec, recipe.seed)
    # Published weights would be fetched for nothing here; shapes do not depend on them.
    has_model = recipe.teacher is not None and not recipe.teacher.is_only_cached
    teacher = build_teacher_model(recipe.without_weights(), splits.spec) if has_model else None
    faults = faults_of_fit(recipe, splits, student, teacher)
    if faults:
        raise RecipeError("\n".join(fault.render("") for fault in faults))


def _write_head(recipe: Recipe, log: RunFolder, command: str, splits: Splits) -> None:
    record = {
        "kind": "run",
        "name": log.path.name,
        "recipe": recipe.as_tree(),
        "environment": environment(),
        "command": command,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": _describe(splits),
    }
    log.write_text("recipe.yaml", recipe.to_yaml())
    log.write_json("run.json", record)
    log.log(record)


def _describe(splits: Splits) -> dict[str, Any]:
    spec = splits.spec
    return {
        "name": spec.name,
        "num_classes": spec.num_classes,
        "classes": list(spec.class_names),
        "channels": spec.channels,
        "size": list(spec.size),
        "train": len(splits.train),
        "labelled": len(splits.labelled),
        "validation": len(splits.validation),
        "test": len(splits.test),
    }


def _words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SystemExit):
        return "terminated"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
