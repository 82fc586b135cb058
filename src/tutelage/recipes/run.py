"""Run a recipe: one student, or all arms of a comparison, from data to the report."""

from typing import Any

from tutelage.data import Splits
from tutelage.errors import DataError, InputError, RecipeError
from tutelage.recipes.arms import ArmMaker, stages_of
from tutelage.recipes.chain import Chain
from tutelage.recipes.schema import Recipe
from tutelage.recipes.session import session
from tutelage.recipes.teacher import ARM, TEACHER_FILE, ReadyTeacher, ready_teacher
from tutelage.recipes.watch import Watch
from tutelage.report import build_results
from tutelage.report import write_report as write_html
from tutelage.runs import RunFolder
from tutelage.training import Ranks, compare, fit_in_stages, save_student


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
    if resume and folder is not None:
        _refuse_other_runs(folder)
        if not any(folder.checkpoints.glob("*/*")):
            watch.say(
                "no checkpoint there, so training starts anew (see training.checkpoint_every)"
            )
    with session(recipe, folder, "distill") as (ranks, splits):
        log = folder if ranks.is_main else None
        teacher = _teacher(recipe, splits, ranks, folder, watch, resume=resume)
        model = teacher.model if teacher else None
        with Chain(recipe, splits, model, seed=recipe.seed, device=ranks.device) as chain:
            watch.begin("student", 1, 1)
            result = fit_in_stages(
                chain.distiller,
                stages_of(recipe, None, chain.advance),
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


def _refuse_other_runs(folder: RunFolder) -> None:
    """Refuse to go on in the folder of a run of another kind, or of one that has ended."""
    records = [record for record in folder.read_log() if isinstance(record, dict)]
    commands = [record.get("command") for record in records if record.get("kind") == "run"]
    if any(command != "distill" for command in commands):
        raise InputError(
            f"run folder {folder.path}: expected a run of tutelage distill, found one of tutelage "
            f"{commands[0]}; only distill can be resumed: leave --resume out"
        )
    last = records[-1] if records else {}
    is_whole = last.get("kind") == "end" and last.get("status") == "ok"
    if is_whole and (folder.path / "student.safetensors").is_file():
        raise InputError(
            f"run folder {folder.path}: this run has ended, there is nothing to resume; "
            "leave --resume out, or choose another --name"
        )


def write_report(folder: RunFolder) -> dict[str, Any]:
    """Write ``results.json`` and ``report.html`` from the log, and return the results.

    Raises:
        DataError: If the log is damaged.
    """
    records = folder.read_log()
    try:
        results = build_results(records)
        folder.write_json("results.json", results)
        write_html(records, folder.path / "report.html", results)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        # The log is a text that anyone may have edited: its records can lack anything.
        raise DataError(
            f"{folder.path / 'log.jsonl'}: expected the records of a run, found others "
            f"({type(error).__name__}: {error}); train anew, or take the log from a copy"
        ) from error
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
    record = teacher.record
    if record is not None:
        accuracy, seconds = record["accuracy"]["test"], record["seconds"]
        watch.say(f"teacher {record['name']}: {accuracy:.1%} on the test set ({seconds:.0f} s)")
    if teacher.warning:
        watch.say(f"warning: {teacher.warning}")
    if folder is not None and ranks.is_main:
        if record is not None:
            folder.log(record)
        if teacher.model is not None:
            save_student(folder.path / TEACHER_FILE, teacher.model.state_dict())
    return teacher
