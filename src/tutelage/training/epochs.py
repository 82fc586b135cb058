"""The batches of an epoch: which images a process sees, in which view, and how they are mixed."""

import warnings
from collections.abc import Callable

from tutelage.data import Batch, ImageData, Loader, loader, mixed
from tutelage.data.seeds import mix
from tutelage.distiller import Distiller
from tutelage.training.distributed import Ranks
from tutelage.training.modes import needs_two_samples
from tutelage.training.settings import TrainingSettings
from tutelage.training.views import views_for


def batches_of(
    distiller: Distiller,
    images: ImageData,
    settings: TrainingSettings,
    ranks: Ranks,
    *,
    seed: int,
    epoch: int,
) -> Loader:
    """Return this process's batches of one epoch, each image in its view of that epoch."""
    view = views_for(settings, images, distiller.teacher).in_epoch(images, epoch)
    size = settings.batch_size
    fewest = 2 * ranks.world_size if needs_two_samples(distiller) else 2
    return loader(
        view,
        size,
        seed=seed,
        epoch=epoch,
        rank=ranks.rank,
        world_size=ranks.world_size,
        workers=settings.workers,
        drop_last=len(view) > size >= fewest > len(view) % size,
        pin_memory=ranks.device.type == "cuda",
    )


def warn_of_dropped(batches: Loader, ranks: Ranks) -> None:
    """Say how many images each epoch leaves out that one process would not."""
    dropped = batches.batches.dropped
    if dropped > 1 and ranks.is_main:
        warnings.warn(
            f"each epoch leaves out {dropped} images: the last batch is too small for "
            f"{ranks.world_size} processes, and one process would make one more step with it; "
            "choose a batch_size that leaves a larger rest, or none",
            stacklevel=3,
        )


def mixer_for(
    settings: TrainingSettings, num_classes: int, seed: int, ranks: Ranks
) -> Callable[[Batch, int], Batch]:
    """Return what mixes the batch of a step: by seed, step and process, so that it resumes."""
    if settings.mixup is None and settings.cutmix is None:
        return lambda batch, step: batch
    return lambda batch, step: mixed(
        batch,
        num_classes=num_classes,
        mixup=settings.mixup,
        cutmix=settings.cutmix,
        key=mix("step", seed, step, ranks.rank),
    )
