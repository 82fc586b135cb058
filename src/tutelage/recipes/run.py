"""Run a recipe: one student, or all arms of a comparison, from data to the report."""

from typing import Any

from tutelage.data import Splits
from tutelage.errors import RecipeError
from tutelage.recipes.arms import ArmMaker
from tutelage.recipes.build import build_distiller
from tutelage.recipes.schema import Recipe
from tutelage.recipes.session import session
from tutelage.recipes.teacher import ARM, TEACHER_FILE, ReadyTeacher, ready_teacher
from tutelage.recipes.watch import Watch
from tutelage.report import build_results
from tutelage.report import write_report as write_html
from tutelage.runs import RunFolder
from tutelage.training import Ranks, compare, fit, save_student


def distill(
    recipe: Recipe, folder: RunFolder | None, *, watch: Watch | None = None, resume: bool = False
) -> dict[str, Any]:
    """Train one student and return its results; ``folder`` gets all files of the run.

    Args:
        recipe: What to train.
        folder: The run folder. Under torchrun only the main process writes to it; others may pass
            ``None``, but not to resume.
        watch: Told what happens.
        resume: Go on from the newest checkpoint in ``folder``.

    Raises:
        TutelageError: If anything stops the run; the log says so too.
    """
    watch = watch or Watch()
    with session(recipe, folder, "distill") as (ranks, splits):
        log = folder if ranks.is_main else None
        teacher = _teacher(recipe, splits, ranks, folder, watch, resume=resume)
        distiller = build_distiller(
            recipe,
            splits,
            teacher.model if teacher else None,
            seed=recipe.seed,
            device=ranks.device,
        )
        with distiller:
            watch.begin("student", 1, 1)
            result = fit(
                distiller,
                splits,
                recipe.training,
                seed=recipe.seed,
                run=folder,
                arm=recipe.name,
                reference=teacher.reference if teacher else None,
                progress=watch.progress,
                resume=resume,
            )
        if log is not None:
            head = {"kind": "arm", "arm": recipe.name, "role": "method", "seed": recipe.seed}
            log.log({**head, **result.record()})
            save_student(log.path / "student.safetensors", result.student)
    return write_report(log) if log is not None else {}


def run_comparison(
    recipe: Recipe,
    folder: RunFolder | None,
    *,
    command: str = "compare",
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Train all arms of a recipe at all its seeds and return the results.

    ``student.safetensors`` is the student of the first method at the first seed.

    Args:
        recipe: A recipe with ``compare:``.
        folder: The run folder; ``None`` on all but the main process under torchrun.
        command: What the log says was run.
        watch: Told what happens.

    Raises:
        TutelageError: If anything but an arm's own numbers stops the run; the log says so too.
    """
    if recipe.compare is None:
        raise RecipeError(
            f"recipe {recipe.name}: expected compare: with arms, found none; add arms, of which "
            "one has role: baseline, or run tutelage distill"
        )
    watch = watch or Watch()
    with session(recipe, folder, command) as (ranks, splits):
        log = folder if ranks.is_main else None
        teacher = _teacher(recipe, splits, ranks, folder, watch)
        maker = ArmMaker(recipe, teacher, ranks, watch)
        try:
            outcomes = compare(
                [maker.arm(arm) for arm in recipe.compare.arms],
                recipe.seeds,
                run=log,
                reference=teacher.reference if teacher else None,
                progress=watch.progress,
            )
        finally:
            maker.close()
        methods = [outcome.result for outcome in outcomes if outcome.arm.role == "method"]
        if log is not None and methods and methods[0] is not None:
            save_student(log.path / "student.safetensors", methods[0].student)
    return write_report(log) if log is not None else {}


def write_report(folder: RunFolder) -> dict[str, Any]:
    """Write ``results.json`` and ``report.html`` from the log, and return the results."""
    records = folder.read_log()
    results = build_results(records)
    folder.write_json("results.json", results)
    write_html(records, folder.path / "report.html", results)
    return results


def _teacher(
    recipe: Recipe,
    splits: Splits,
    ranks: Ranks,
    folder: RunFolder | None,
    watch: Watch,
    *,
    resume: bool = False,
) -> ReadyTeacher | None:
    if recipe.teacher is None:
        return None
    teacher = ready_teacher(
        recipe,
        splits,
        ranks,
        run=folder,
        progress=watch.progress,
        resume=resume,
        before=lambda: watch.begin(ARM, 1, 1),
    )
    accuracy, seconds = teacher.record["accuracy"]["test"], teacher.record["seconds"]
    watch.say(f"teacher {teacher.record['name']}: {accuracy:.1%} on the test set ({seconds:.0f} s)")
    if teacher.warning:
        watch.say(f"warning: {teacher.warning}")
    if folder is not None and ranks.is_main:
        folder.log(teacher.record)
        save_student(folder.path / TEACHER_FILE, teacher.model.state_dict())
    return teacher
