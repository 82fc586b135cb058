"""The training loop: plain torch, one process or several, from the first batch to the test."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import torch

from tutelage.data import Batch, Loader, Splits
from tutelage.distiller import Distiller
from tutelage.errors import InputError
from tutelage.runs import RunFolder
from tutelage.teachers import Teacher, tell_view
from tutelage.training.distributed import Ranks, open_ranks
from tutelage.training.durable import check_tensors
from tutelage.training.epochs import batches_of, mixer_for, warn_of_dropped
from tutelage.training.journal import Journal, OnProgress
from tutelage.training.modes import eval_mode, training_mode
from tutelage.training.outcome import final_test, teacher_to_ask, validate
from tutelage.training.progress import Progress
from tutelage.training.reach import only_reached
from tutelage.training.result import FitResult, Spent
from tutelage.training.resume import checkpoint_folder, resume_training, save_training
from tutelage.training.seeds import forked, seed_everything
from tutelage.training.settings import TrainingSettings
from tutelage.training.task import describe_task
from tutelage.training.update import Updater

Value = TypeVar("Value")


def fit(
    distiller: Distiller,
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
    """Train the distiller's student on ``data.labelled``, and test it at the end.

    A teacher is trained in the same way: as the student of a distiller without a teacher.
    Validation and test are those of the student alone, in eval mode, on the plain task. The
    random state of the caller is given back, and so is the mode of every layer. Afterwards the
    distiller holds the *last* student.

    The student trains in training mode, except for parts that come in eval mode and whose
    parameters are all frozen: a batch norm frozen in this way keeps its statistics. Where no term
    trains the logits, the layers behind the last one that a term trains rest as well: neither
    weight decay nor statistics move them.

    A last batch of an epoch with a single sample is left out, unless ``batch_size`` is 1. Several
    processes leave out one with fewer samples than processes as well, and with fewer than two
    samples per process if a batch norm is trained, which can do nothing with one sample. They then
    make fewer steps per epoch than one process would, and a warning says so.

    Under torchrun every process calls this with equal arguments (``run`` is of use to the first
    one only). Apart from such last batches they make the updates that one process would make with
    the same ``batch_size``, as far as losses are means over samples and layers treat samples one
    by one.

    Args:
        distiller: What to train. It moves to the device of the settings.
        data: Where to train, select and test.
        settings: How to train.
        seed: Seed of the order of the data, of new projectors and of dropout.
        run: Where the log and the checkpoints go.
        arm: Name of this training in the log.
        reference: The teacher to measure agreement against; by default the distiller's own, if
            it does not read a cache, which knows no test images.
        progress: Told about each line of the log.
        resume: Go on from the newest checkpoint of ``run``, or begin if there is none. Lines of
            the log after it come a second time; of two for one step the later counts.

    Raises:
        NumericalError: If a loss or gradient is not finite, and then no parameter was updated
            with it (running statistics, as of a batch norm, may have seen its batch); or if logits
            in validation or test are not.
        RecipeError: If a projector or a loss has a parameter that nothing trains; settings,
            objective, training images or teacher are not those of the checkpoint; or the teacher
            reads a cache and the settings mix images or show other views than it holds.
        InputError: If there is nothing to train or to train on, a device does not exist, or the
            student's state holds something else than tensors.
        DataError: If all checkpoints to resume from are damaged.
        ResourceError: If the log or a checkpoint cannot be written.
    """

    def tested(updater: Updater, state: Progress) -> FitResult:
        teacher = reference or teacher_to_ask(distiller)
        if reference is not None:
            reference.apply_to_tensors(lambda tensor: tensor.to(updater.ranks.device))
        return updater.ranks.on_main(lambda: final_test(updater, data, state, teacher))

    return _run(distiller, data, settings, seed, run, arm, progress, resume, tested)


def train_stage(
    distiller: Distiller,
    data: Splits,
    settings: TrainingSettings,
    *,
    seed: int,
    run: RunFolder | None = None,
    arm: str = "stage",
    progress: OnProgress | None = None,
    resume: bool = False,
) -> Spent:
    """Train as :func:`fit` does and test nothing: for a stage that others follow.

    The distiller then holds the last student; no image of the test set has been looked at.

    Args:
        distiller: See :func:`fit`, here and below.
        data: Where to train, and to watch the accuracy on validation images.
        settings: How to train; ``selection`` is of no use here.
        seed: Seed of the order of the data, of new projectors and of dropout.
        run: Where the log and the checkpoints go.
        arm: Name of this training in the log.
        progress: Told about each line of the log.
        resume: Go on from the newest checkpoint of ``run``, or begin if there is none.

    Raises:
        TutelageError: As :func:`fit` does.
    """

    def spent(updater: Updater, state: Progress) -> Spent:
        return updater.ranks.from_main(Spent(state.step, state.seconds))

    return _run(distiller, data, settings, seed, run, arm, progress, resume, spent)


def _run(
    distiller: Distiller,
    data: Splits,
    settings: TrainingSettings,
    seed: int,
    run: RunFolder | None,
    arm: str,
    progress: OnProgress | None,
    resume: bool,
    finish: Callable[[Updater, Progress], Value],
) -> Value:
    """Train to the last step and return what ``finish`` makes of it."""
    check_tensors(distiller.state_dict())
    with ExitStack() as stack:
        ranks = stack.enter_context(open_ranks(settings.device))
        stack.enter_context(forked())
        stack.enter_context(training_mode(distiller))
        seed_everything(seed)
        distiller.to(ranks.device)
        batches = batches_of(distiller, data.labelled, settings, ranks, seed=seed, epoch=0)
        tell_view(distiller.teacher, batches.data.view)
        _size_projectors(distiller, batches, ranks)
        if not distiller.objective.trains_logits:
            stack.enter_context(only_reached(distiller, next(iter(batches)).to(ranks.device)))
            # What rests now may have been the reason to leave out a small last batch.
            batches = batches_of(distiller, data.labelled, settings, ranks, seed=seed, epoch=0)
        warn_of_dropped(batches, ranks)
        total = settings.total_steps(len(batches))
        updater = Updater(distiller, settings, ranks, total)
        # From here on the same for all arms, however many numbers their projectors have drawn.
        seed_everything((seed + 2**32 * ranks.rank) % 2**63)
        folder = ranks.from_main(checkpoint_folder(run, arm, seed) if run is not None else None)
        task = describe_task(distiller, data.labelled, total) if folder is not None else {}
        state = _start(updater, folder, task, resume)
        mixer = mixer_for(settings, data.spec.num_classes, seed, ranks)
        log = run if ranks.is_main else None
        journal = Journal(log, arm, seed, total, settings.log_every, progress)
        while state.step < total:
            epoch = state.epoch
            batches = batches_of(distiller, data.labelled, settings, ranks, seed=seed, epoch=epoch)
            _train(updater, batches, state, journal, mixer)
            state.epoch += 1
            is_over = state.step == total
            if is_over or state.step - state.validated_at >= settings.validation_gap(total):
                validate(updater, data.validation, state, journal)
            every = settings.checkpoint_every
            if folder is not None and every and (is_over or state.epoch % every == 0):
                save_training(folder, updater, state, task)
        return finish(updater, state)


def _size_projectors(distiller: Distiller, batches: Loader, ranks: Ranks) -> None:
    """Give automatic projectors their shapes: DDP takes no parameter without one."""
    if distiller.objective.is_sized:
        return
    batch = next(iter(batches)).to(ranks.device)
    with eval_mode(distiller), torch.no_grad():
        distiller(batch.inputs, batch.target, batch.ids)


def _start(
    updater: Updater, folder: Path | None, task: Mapping[str, Any], resume: bool
) -> Progress:
    if not resume:
        return Progress()
    if folder is None:
        raise InputError("resume: expected a run folder with checkpoints, found none; pass run=")
    return resume_training(folder, updater, task) or Progress()


def _train(
    updater: Updater,
    batches: Loader,
    state: Progress,
    journal: Journal,
    mixer: Callable[[Batch, int], Batch],
) -> None:
    """Make the updates of one epoch, or those that are left of the training."""
    ranks, whole = updater.ranks, batches.batches
    for index, batch in enumerate(batches):
        global_size = min(whole.batch_size, whole.n - index * whole.batch_size)
        lr = updater.lr
        whole_ids = batch.ids if updater.settings.accumulate == 1 else None
        tell_view(updater.distiller.teacher, batch.view, whole_ids)
        on_device = batch.to(ranks.device, non_blocking=True)
        shares = updater(mixer(on_device, state.step), global_size, state.step + 1)
        state.step += 1
        is_over = state.step == journal.total
        if is_over or state.step % journal.every == 0:
            values = ranks.sum(torch.stack(list(shares.values()))).tolist()
            journal.step(state.epoch + 1, state.step, dict(zip(shares, values, strict=True)), lr)
        if is_over:
            return
