"""A fair comparison: every arm on the same seeds, from the same weights, on the same batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tutelage.data import Splits
from tutelage.distiller import Distiller
from tutelage.errors import InputError, NumericalError, RecipeError
from tutelage.runs import RunFolder
from tutelage.teachers import Teacher
from tutelage.training.distributed import open_ranks
from tutelage.training.durable import check_tensors
from tutelage.training.journal import OnProgress
from tutelage.training.result import FitResult
from tutelage.training.settings import TrainingSettings
from tutelage.training.stages import Stage, fit_in_stages
from tutelage.training.task import digest

Role = Literal["baseline", "control", "method"]


@dataclass(frozen=True)
class Arm:
    """One way of training the student.

    Args:
        name: Its name in the log and the report.
        role: ``baseline`` (the student alone), ``control`` or ``method``.
        make: From a seed to a new distiller and its data. The student's weights and the choice of
            images must depend on the seed only, and be those of the other arms.
        settings: How to train.
        own_student: Whether its student is another model than the other arms', on purpose.
        stages: What its student is trained on before; ``make`` then gives the first one's
            distiller.
    """

    name: str
    role: Role
    make: Callable[[int], tuple[Distiller, Splits]]
    settings: TrainingSettings
    own_student: bool = False
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True)
class ArmResult:
    """The outcome of one arm at one seed.

    Args:
        arm: Which arm.
        seed: Which seed.
        result: What came out; ``None`` if the numbers ran away.
        error: Why there is no result.
    """

    arm: Arm
    seed: int
    result: FitResult | None
    error: str | None = None


def compare(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    *,
    run: RunFolder | None = None,
    reference: Teacher | None = None,
    progress: OnProgress | None = None,
    resume: bool = False,
) -> list[ArmResult]:
    """Train every arm at every seed and return all outcomes, seed by seed.

    An arm whose loss runs away loses that seed: its record in the log has an ``error`` in place
    of scores, and the others go on. Only the results of the first seed hold the student's weights:
    those of all would fill the memory. Distillers are not closed: whoever makes one owns its
    teacher.

    Args:
        arms: What to compare.
        seeds: Each is one pairing of all arms.
        run: Where the log goes.
        reference: The teacher to measure the agreement of every arm against, so that students
            trained alone and controls are measured against the same one.
        progress: See :func:`tutelage.training.fit`; messages begin with the arm and the seed.
        resume: See :func:`tutelage.training.fit`.

    Raises:
        InputError: If there are no arms or seeds, or one twice, or a student's state holds
            something else than tensors.
        RecipeError: If the arms of a seed differ in the student's first weights or in the data.
    """
    names = [arm.name for arm in arms]
    for what, found in (("arms", names), ("seeds", list(seeds))):
        if not found or len(set(found)) < len(found):
            raise InputError(f"compare: expected {what}, each once, found {found}; list them anew")
    results = []
    with open_ranks(arms[0].settings.device) as ranks:
        for seed in seeds:
            starts: dict[str, str] = {}
            for arm in arms:
                distiller, data = arm.make(seed)
                _check_paired(starts, arm, seed, distiller, data)
                outcome = _train(arm, seed, distiller, data, run, reference, progress, resume)
                if run is not None and ranks.is_main:
                    run.log(_record(outcome))
                results.append(outcome if seed == seeds[0] else _without_weights(outcome))
    return results


def _train(
    arm: Arm,
    seed: int,
    distiller: Distiller,
    data: Splits,
    run: RunFolder | None,
    reference: Teacher | None,
    progress: OnProgress | None,
    resume: bool,
) -> ArmResult:
    def tell(epoch: int, step: int, total: int, message: str) -> None:
        if progress is not None:
            progress(epoch, step, total, f"{arm.name}, seed {seed}: {message}")

    try:
        result = fit_in_stages(
            distiller,
            arm.stages,
            data,
            arm.settings,
            seed=seed,
            run=run,
            arm=arm.name,
            reference=reference,
            progress=tell,
            resume=resume,
        )
    except NumericalError as error:
        return ArmResult(arm, seed, None, str(error))
    return ArmResult(arm, seed, result)


def _check_paired(
    starts: dict[str, str], arm: Arm, seed: int, distiller: Distiller, data: Splits
) -> None:
    """Raise unless ``arm`` starts where the first arm of this seed, kept in ``starts``, did."""
    check_tensors(distiller.state_dict())
    found = {
        "the training images": digest({"ids": data.labelled.ids, "labels": data.labelled.targets}),
        "the test images": digest({"ids": data.test.ids, "labels": data.test.targets}),
    }
    if not arm.own_student:
        found["the student's first weights"] = digest(distiller.student.state_dict())
    for what, mine in found.items():
        if starts.setdefault(what, mine) != mine:
            raise RecipeError(
                f"compare: expected arms that differ in the objective only, found that arm "
                f"{arm.name!r} at seed {seed} has not {what} of the first arm "
                f"(sha256 {mine[:12]} vs {starts[what][:12]}); "
                "seed the construction of student and data in make() with the seed alone"
            )


def _without_weights(outcome: ArmResult) -> ArmResult:
    if outcome.result is None:
        return outcome
    return replace(outcome, result=replace(outcome.result, student={}))


def _record(outcome: ArmResult) -> dict[str, object]:
    arm = outcome.arm
    head = {"kind": "arm", "arm": arm.name, "role": arm.role, "seed": outcome.seed}
    if outcome.result is None:
        return {**head, "error": outcome.error}
    return {**head, **outcome.result.record()}
