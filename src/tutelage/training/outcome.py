"""What comes out of a training: validation on the way, and the test at its end."""

from typing import TypedDict

import torch

from tutelage.data import ImageData, Splits
from tutelage.distiller import Distiller
from tutelage.teachers import Teacher, view_readers
from tutelage.training.evaluation import Evaluation, evaluate
from tutelage.training.journal import Journal
from tutelage.training.progress import Progress, copy_state
from tutelage.training.result import FitResult, Scores
from tutelage.training.update import Updater


class _How(TypedDict):
    """The options of :func:`evaluate` that follow from the settings."""

    device: torch.device
    workers: int
    batch_size: int


def validate(updater: Updater, images: ImageData, state: Progress, journal: Journal) -> None:
    """Evaluate the student on the main process, while the others wait."""
    state.validated_at = state.step

    def evaluated() -> None:
        student = updater.distiller.student
        found = evaluate(student, images, **_how(updater))
        state.select(found, student)
        journal.validation(state.epoch, state.step, found)

    updater.ranks.on_main(evaluated)


def teacher_to_ask(distiller: Distiller) -> Teacher | None:
    """Return the teacher if it can be asked about test images: a cache knows none of them."""
    teacher = distiller.separate_teacher
    return None if view_readers(teacher) else teacher


def final_test(
    updater: Updater, data: Splits, state: Progress, teacher: Teacher | None
) -> FitResult:
    """Test the last student and the best one: the first time that anything sees the test set."""
    settings, student = updater.settings, updater.distiller.student
    seconds = state.seconds
    assert state.validation is not None
    assert state.best_validation is not None
    assert state.best is not None

    def tested(epoch: int, validation: Evaluation) -> Scores:
        test = evaluate(student, data.test, teacher=teacher, **_how(updater))
        return Scores(epoch, validation, test)

    last = best = tested(state.epoch, state.validation)
    weights = copy_state(student)
    if state.best_epoch != state.epoch:
        student.load_state_dict(state.best)
        best = tested(state.best_epoch, state.best_validation)
        student.load_state_dict(weights)
    return FitResult(
        last=last,
        best=best,
        kept=settings.selection,
        student=state.best if settings.selection == "best" else weights,
        params=sum(parameter.numel() for parameter in student.parameters()),
        steps=state.step,
        seconds=seconds,
    )


def _how(updater: Updater) -> _How:
    """Return how to evaluate: without gradients a batch takes less than a quarter of the memory."""
    settings, ranks = updater.settings, updater.ranks
    share = settings.batch_size // (settings.accumulate * ranks.world_size)
    return _How(device=ranks.device, workers=settings.workers, batch_size=4 * max(1, share))
