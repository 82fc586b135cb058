"""Run a recipe: one student, or all arms of a comparison, from data to the report."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from tutelage.data import Splits
from tutelage.distiller import Distiller
from tutelage.errors import RecipeError
from tutelage.recipes.build import build_distiller, build_splits, build_student, build_teacher_model
from tutelage.recipes.environment import environment
from tutelage.recipes.fitting import faults_of_fit
from tutelage.recipes.schema import ArmSettings, Recipe
from tutelage.recipes.teacher import ARM, TEACHER_FILE, ReadyTeacher, ready_teacher
from tutelage.recipes.threads import threads
from tutelage.recipes.watch import Watch
from tutelage.report import build_results
from tutelage.report import write_report as write_html
from tutelage.runs import RunFolder
from tutelage.training import Arm, Ranks, compare, fit, open_ranks, save_student


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
    with _session(recipe, folder, "distill") as (ranks, splits):
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
                reference=teacher.frozen if teacher else None,
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
    with _session(recipe, folder, command) as (ranks, splits):
        log = folder if ranks.is_main else None
        teacher = _teacher(recipe, splits, ranks, folder, watch)
        maker = _Maker(recipe, teacher, ranks, watch)
        try:
            outcomes = compare(
                [maker.arm(arm) for arm in recipe.compare.arms],
                recipe.seeds,
                run=log,
                reference=teacher.frozen if teacher else None,
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


class _Maker:
    """Makes the distillers of a comparison, each when its turn comes, and closes the one before."""

    def __init__(
        self, recipe: Recipe, teacher: ReadyTeacher | None, ranks: Ranks, watch: Watch
    ) -> None:
        assert recipe.compare is not None
        self.recipe, self.teacher, self.ranks, self.watch = recipe, teacher, ranks, watch
        self.count = len(recipe.compare.arms) * len(recipe.seeds)
        self.made = 0
        self._open: Distiller | None = None
        self._splits: tuple[int, Splits] | None = None

    def arm(self, settings: ArmSettings) -> Arm:
        """Return one arm as the training room takes it."""

        def make(seed: int) -> tuple[Distiller, Splits]:
            return self._make(settings, seed)

        return Arm(settings.name, settings.role, make, self.recipe.training_of(settings))

    def close(self) -> None:
        """Close the distiller that is still open, if any."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _make(self, settings: ArmSettings, seed: int) -> tuple[Distiller, Splits]:
        self.close()
        self.made += 1
        self.watch.begin(f"{settings.name}, seed {seed}", self.made, self.count)
        splits = self._data(seed)
        self._open = build_distiller(
            self.recipe,
            splits,
            self.teacher.model if self.teacher else None,
            seed=seed,
            arm=settings,
            device=self.ranks.device,
        )
        return self._open, splits

    def _data(self, seed: int) -> Splits:
        """Return the data of a seed, which all its arms share."""
        if self._splits is None or self._splits[0] != seed:
            self._splits = seed, build_splits(self.recipe, seed)
        return self._splits[1]


@contextmanager
def _session(
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
    teacher = build_teacher_model(recipe.without_weights(), splits.spec) if recipe.teacher else None
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


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
