"""Whether a batch shows the pixels that a cached teacher was asked about."""

from typing import NamedTuple

import torch
from torch import Tensor

from tutelage.cache import Reader, differ, marks_of
from tutelage.errors import DataError

_PATIENCE = 64  # batches on a device before it is waited for
_LOOKED_UP = 16  # images whose other views are tried
_VIEWS = 64


class _Seen(NamedTuple):
    """What was seen of one batch: which images are others, their marks, samples and view."""

    other: Tensor
    marks: Tensor
    ids: Tensor
    view: int


class PixelWatch:
    """Compares the marks of each batch with those of the cache.

    On the CPU at once. On other devices the comparison stays there and is looked at every 64
    batches and by :meth:`settle`, so that no step waits for the device.

    Args:
        reader: The cache, which is asked for the cause when something differs.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._waiting: list[_Seen] = []

    def compare(
        self,
        images: Tensor,
        marks: Tensor,
        ids: Tensor,
        view: int,
        present: Tensor | None = None,
        strangers: Tensor | None = None,
    ) -> None:
        """Take note of a batch.

        Args:
            images: What the student is shown, ``[B, ...]``.
            marks: Those of its rows in the cache, uint8 ``[B]``.
            ids: Its samples, ``[B]``.
            view: Their view.
            present: Which of them have a row; ``None`` for all.
            strangers: Which rows are known to be another sample's; ``None`` for none.

        Raises:
            DataError: Some images are not those that the teacher was asked about.
        """
        found = marks_of(images)
        other = differ(found, marks.to(found.device, non_blocking=True))
        if present is not None:
            other &= present.to(found.device, non_blocking=True)
        if strangers is not None:
            other |= strangers
        self._waiting.append(_Seen(other, found, ids, view))
        if _is_at_hand(found) or len(self._waiting) >= _PATIENCE:
            self.settle()

    def settle(self) -> None:
        """Look at all that was noted.

        Raises:
            DataError: Some images are not those that the teacher was asked about.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        counts = torch.stack([seen.other.sum() for seen in waiting]).tolist()
        for count, seen in zip(counts, waiting, strict=True):
            if count:
                raise self._refusal(seen)

    def _refusal(self, seen: _Seen) -> DataError:
        other = seen.other.cpu()
        bad, marks, size = seen.ids.cpu()[other], seen.marks.cpu()[other], len(other)
        listed = ", ".join(map(str, bad[:8].tolist()))
        listed += f" and {len(bad) - 8} more" if len(bad) > 8 else ""
        view = self._view_of(bad, marks, seen.view)
        if view is not None:
            cause = (
                f"they are those of view {view}: name the view of each batch by set_view, as "
                "Batch.view has it, and keep ids and images together"
            )
        elif 2 * len(bad) >= size:
            cause = (
                "as most of the batch differs, it may be a view that the cache does not hold, "
                "another normalisation, size or dtype (bf16 images), mixup or cutmix, or an "
                "augmentation drawn anew instead of replayed by sample and view: show the images "
                "that `tutelage cache info` describes, or train with the live teacher"
            )
        else:
            cause = (
                "the others agree, so these images have changed, or their ids are now those of "
                "other images: restore them, or build the cache anew from this data"
            )
        return DataError(
            f"cache {self._reader.path}: expected the pixels that its teacher was asked about, "
            f"found others in {len(bad)} of {size} images of a batch in view {seen.view}, samples "
            f"{listed}; {cause}"
        )

    def _view_of(self, ids: Tensor, marks: Tensor, given: int) -> int | None:
        """Return the other view, if there is one, to which these pixels belong."""
        some, found = ids[:_LOOKED_UP].numpy(), marks[:_LOOKED_UP]
        if len(some) < 3:  # too few to tell a match from a coincidence
            return None
        for view in range(min(self._reader.layout.views, _VIEWS)):
            rows = self._reader.read(some, view, absent="mask")
            if view != given and rows.present.all() and not differ(found, rows.marks).any():
                return view
        return None

    def __getstate__(self) -> dict[str, Reader]:
        return {"reader": self._reader}

    def __setstate__(self, state: dict[str, Reader]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _is_at_hand(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu"
