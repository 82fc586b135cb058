"""Stages: the same student trained on other terms before those that it is judged by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tutelage.data import Splits
from tutelage.distiller import Distiller
from tutelage.runs import RunFolder
from tutelage.teachers import Teacher
from tutelage.training.distributed import open_ranks
from tutelage.training.journal import OnProgress
from tutelage.training.loop import fit, train_stage
from tutelage.training.result import FitResult
from tutelage.training.settings import TrainingSettings


@dataclass(frozen=True)
class Stage:
    """A stage before the last one.

    Args:
        name: Its name; the log calls it ``ARM/NAME``.
        settings: How it is trained.
        follow: From this stage's distiller, which it closes, to that of the next stage around the
            same student.
    """

    name: str
    settings: TrainingSettings
    follow: Callable[[Distiller], Distiller]


def fit_in_stages(
    distiller: Distiller,
    stages: Sequence[Stage],
    data: Splits,
    settings: TrainingSettings,
    *,
    seed: int,
    run: RunFolder | None = None,
    arm: str = "student",
    reference: Teacher | None = None,
    progress: OnProgress | None = None,
    resume: bool = False,
) -> FitResult:
    """Train one stage after the other, then as :func:`~tutelage.training.fit` does.

    The weights of the student go from stage to stage; optimiser, momentum and schedules of the
    learning rate begin anew in each.

    Args:
        distiller: That of the first stage, or without stages the only one.
        stages: All but the last, in their order.
        data: Of every stage.
        settings: How the last stage is trained, after which the student is tested.
        seed: Of every stage.
        run: Where logs and checkpoints go.
        arm: Name of the last stage in the log.
        reference: See :func:`~tutelage.training.fit`.
        progress: Told about each line of the log.
        resume: Go on from the newest checkpoint of each stage.

    Returns:
        The last stage's result, with the steps and seconds of all stages.

    Raises:
        TutelageError: As :func:`~tutelage.training.fit` does.
    """
    steps, seconds = 0, 0.0
    for stage in stages:
        name = f"{arm}/{stage.name}"
        with open_ranks(stage.settings.device) as ranks:
            log = run if ranks.is_main else None
        head = {"kind": "stage", "arm": name, "of": arm, "seed": seed}
        if log is not None:
            log.log(head)  # so that what follows is known to be no arm of its own
        spent = train_stage(
            distiller,
            data,
            stage.settings,
            seed=seed,
            run=run,
            arm=name,
            progress=progress,
            resume=resume,
        )
        if log is not None:
            log.log({**head, "steps": spent.steps, "seconds": spent.seconds})
        steps, seconds = steps + spent.steps, seconds + spent.seconds
        distiller = stage.follow(distiller)
    result = fit(
        distiller,
        data,
        settings,
        seed=seed,
        run=run,
        arm=arm,
        reference=reference,
        progress=progress,
        resume=resume,
    )
    return replace(result, steps=result.steps + steps, seconds=result.seconds + seconds)
