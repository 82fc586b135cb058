"""What a training puts into its checkpoints, and how it goes on from one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tutelage.errors import InputError, RecipeError
from tutelage.runs import RunFolder
from tutelage.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from tutelage.training.progress import Progress
from tutelage.training.seeds import random_state, restore_random_state
from tutelage.training.update import Updater

# What may change between a checkpoint and its resumption without changing what is learnt.
_FREE = {"device", "workers", "checkpoint_every", "log_every"}


def checkpoint_folder(run: RunFolder, arm: str, seed: int) -> Path:
    """Return where the checkpoints of one arm and seed lie; the arm's name is made harmless."""
    return run.checkpoints / f"{quote(arm, safe='')}-seed{seed}"


def save_training(
    folder: Path, updater: Updater, progress: Progress, task: Mapping[str, Any]
) -> None:
    """Write a checkpoint; every process must call this, the main one writes.

    Args:
        folder: Where the checkpoints of this training lie.
        updater: The model and the state of its optimiser.
        progress: How far the training is.
        task: What is learnt; see :func:`tutelage.training.task.describe_task`.

    Raises:
        ResourceError: If the disk is full or refuses.
    """
    ranks = updater.ranks
    random_states = ranks.gather(random_state())
    state = {
        "optimizer": updater.optimizer.state_dict(),
        "scheduler": updater.scheduler.state_dict(),
        "scaler": updater.scaler.state_dict(),
        "progress": progress.to_state(),
        "random": random_states,
        "settings": updater.settings.model_dump(mode="json"),
        "task": dict(task),
    }
    model = updater.distiller.state_dict()
    ranks.on_main(
        lambda: save_checkpoint(folder, progress.step, model=model, best=progress.best, state=state)
    )


def resume_training(folder: Path, updater: Updater, task: Mapping[str, Any]) -> Progress | None:
    """Load the newest undamaged checkpoint into ``updater``; ``None`` if there is none yet.

    On one process, and on as many as wrote it, everything goes on bit for bit as if it had not
    stopped (as far as the device's own kernels are reproducible). With another number of
    processes the order of the data stays and the random state of new ones is their seed's. The
    teacher is in no checkpoint: one that draws, as a ShuffledTeacher does, begins its draws anew.

    Raises:
        DataError: If every checkpoint is damaged.
        RecipeError: If the settings or the task differ from the checkpoint's; it names them.
        InputError: If the checkpoint is of another student or objective.
    """
    ranks = updater.ranks
    # Only one process may look: another could find a different newest one.
    path = ranks.on_main(lambda: newest_checkpoint(folder))
    if path is None:
        return None
    model, best, state = load_checkpoint(path)
    mine = updater.settings.model_dump(mode="json", exclude=_FREE)
    _check_same(path, "settings", state["settings"], mine)
    _check_same(path, "task", state.get("task", {}), task)
    try:
        updater.distiller.load_state_dict(model)
        updater.optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"checkpoint {path}: expected the student and terms it was written with: {error}; "
            "resume with the same recipe, or train anew"
        ) from None
    updater.scheduler.load_state_dict(state["scheduler"])
    updater.scaler.load_state_dict(state["scaler"])
    if ranks.rank < len(state["random"]):
        restore_random_state(state["random"][ranks.rank])
    return Progress.from_state(state["progress"], best)


def _check_same(path: Path, what: str, stored: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    changed = [
        f"{name}: {stored.get(name)!r} there, {value!r} now"
        for name, value in mine.items()
        if stored.get(name) != value
    ]
    if changed:
        raise RecipeError(
            f"checkpoint {path}: expected the {what} it was written with, found other "
            f"{'; '.join(changed)}; resume with the old ones, or train anew"
        )
