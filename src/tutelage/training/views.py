"""Which random version of each image an epoch shows, and what a teacher with a cache asks of it."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tutelage.data import ImageData
from tutelage.errors import RecipeError
from tutelage.teachers import Teacher, view_readers
from tutelage.training.settings import TrainingSettings


@dataclass(frozen=True)
class Views:
    """The views of a training.

    Args:
        count: How many there are before they repeat; ``None`` for a new one in each epoch.
        seed: Seed of the augmentation; ``None`` for the one of the data.
    """

    count: int | None
    seed: int | None

    def in_epoch(self, images: ImageData, epoch: int) -> ImageData:
        """Return ``images`` in their view of this epoch, which counts from 0.

        >>> Views(count=3, seed=7).of_epoch(4)
        1
        """
        shown = copy.copy(images)
        shown.set_view(self.of_epoch(epoch))
        if self.seed is not None:
            shown.seed = self.seed
        return shown

    def of_epoch(self, epoch: int) -> int:
        """Return the number of the view that an epoch shows."""
        return epoch if self.count is None else epoch % self.count


def views_for(settings: TrainingSettings, images: ImageData, teacher: Teacher | None) -> Views:
    """Return the views of a training: those of the settings, or of the cache its teacher reads.

    Args:
        settings: How to train.
        images: What to train on.
        teacher: Who is asked about them.

    Raises:
        RecipeError: If the settings would show images that the teacher's cache does not know:
            mixed ones, or views that it was not built with.
    """
    readers = view_readers(teacher)
    if readers:
        _refuse_mixing(settings)
    views, seed = settings.views, settings.view_seed
    for layout in _layouts(readers):
        views = layout.views if views is None else views
        seed = layout.view_seed if seed is None else seed
        # Without augmentation all views and seeds give the same images.
        if views > layout.views or (images.transform is not None and seed != layout.view_seed):
            raise RecipeError(
                f"training: expected the views that the teacher's cache holds, views up to "
                f"{layout.views} with view_seed {layout.view_seed}, found views {views} with "
                f"view_seed {seed}; leave both settings out, or build a cache with these"
            )
    return Views(views, seed)


def _layouts(readers: list[Any]) -> Iterator[Any]:
    for reader in readers:
        layout = getattr(reader, "layout", None)
        if layout is not None:
            yield layout


def _refuse_mixing(settings: TrainingSettings) -> None:
    found = {name: getattr(settings, name) for name in ("mixup", "cutmix")}
    used = [f"{name}: {value}" for name, value in found.items() if value is not None]
    if used:
        raise RecipeError(
            f"training: expected images as the teacher's cache knows them, found "
            f"{' and '.join(used)}, which mixes each image with its neighbours in the batch: no "
            f"cache can hold an answer to that; drop {' and '.join(n.split(':')[0] for n in used)}"
            ", or train with the teacher itself"
        )
