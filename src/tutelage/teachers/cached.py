"""The teacher whose answers were computed before: read by sample and view, never computed."""

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from tutelage import _check
from tutelage.cache import Layout, Reader
from tutelage.cache.differences import Difference, diff, refuse, side_by_side
from tutelage.errors import InputError, ShapeError, TeacherError
from tutelage.signals import Signals, SparseLogits
from tutelage.signals.sparse import POLICIES
from tutelage.teachers.answers import example_of, filled, moved, signals_from, sources_of
from tutelage.teachers.first import some_of, tensors_in
from tutelage.teachers.pixels import PixelWatch
from tutelage.teachers.protocol import Teacher


class _Answer(NamedTuple):
    """What was read for a batch.

    ``missing`` are the places of rows that are not there, ``strangers`` those that are another
    sample's.
    """

    signals: Signals
    marks: Tensor
    present: Tensor | None
    missing: Tensor | None
    strangers: Tensor | None = None


class CachedTeacher:
    """A teacher of whom every answer was written down: the same signals, and no forward.

    It stands in place of :class:`~tutelage.teachers.FrozenTeacher`. Rows are found by the ids of
    the samples and by the view that :meth:`set_view` names (the library's own training does). Each
    is compared with its checksum, and the images of every batch with a one-byte sketch of those
    that the teacher was asked about: another view, normalisation, augmentation or data set is
    refused at the step where it happens (on a GPU within 64 steps). One wrong image slips through
    in 7 of 256 cases, a wrong batch never in practice.

    Of a dense cache in fp32 the loss is bit-equal to the live teacher's. fp16 and bf16 round each
    logit to half a unit in the last place, relatively by 2^-11 and 2^-8 at most. Of a top-k cache
    the classes outside are told by their mass alone: see ``outside``.

    It is never copied: ``copy.deepcopy`` returns the teacher itself. Pickled, it opens the files
    again where it is unpickled.

    Args:
        path: The cache's folder.
        on_miss: What to do about a row that is not there: ``"error"``, or a teacher that is asked
            about these samples only; ``misses`` counts them.
        outside: What a top-k cache says of the classes outside: ``"tail"``, ``"renormalise"`` or
            ``"ignore"``; :func:`~tutelage.losses.logits.kept.kept_divergence` has their bias.
        expect: What the cache must say of itself: fields of its identity by name.
        allow_stale: Go on, with a warning, where that differs; ``stale`` lists what does.
        check_pixels: Whether images are compared. Without it nothing notices a wrong view.
        partial: Whether a cache that is still being written will do.

    Raises:
        InputError: There is no finished cache, or an option is unknown.
        DataError: The cache is damaged, or says other things of itself than expected.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        on_miss: str | Teacher = "error",
        outside: str = "tail",
        expect: Mapping[str, Any] | None = None,
        allow_stale: bool = False,
        check_pixels: bool = True,
        partial: bool = False,
    ) -> None:
        self._where = f"cache {path}"
        self.outside = _check.one_of(outside, POLICIES, "CachedTeacher.outside")
        self.live = _live(on_miss)
        self.reader = Reader(path, partial=partial)
        #: In which fields the cache is not what was expected, if that was allowed.
        self.stale = self._compared(expect or {}, allow_stale)
        self.view = 0
        #: How many rows the live teacher was asked for.
        self.misses = 0
        self._watch = PixelWatch(self.reader) if check_pixels else None
        self._sources: dict[str, str] = {}
        self._users = 0
        self._is_closed = False
        #: While a dry run asks, the rows of any samples will do: only their shapes matter.
        self.is_rehearsing = False
        self._place = torch.empty(0)  # follows the student to its device
        self._ready: tuple[Tensor, _Answer] | None = None

    @property
    def layout(self) -> Layout:
        """What the cache holds of each view of each sample."""
        return self.reader.layout

    @property
    def identity(self) -> Mapping[str, Any]:
        """For whom the cache was made: teacher, data, preparation and augmentation."""
        return self.reader.manifest.identity

    @property
    def gives_logits(self) -> bool:
        """Whether there are logits beside the taps."""
        return self.layout.num_classes is not None

    @property
    def sparse_example(self) -> SparseLogits | None:
        """What the logits look like where only the likeliest classes were kept."""
        return example_of(self.layout, self.outside)

    def set_view(self, view: int) -> None:
        """Name the random version of the images that the next batches show, from 0.

        Raises:
            InputError: The cache holds no such view.
            DataError: A batch of the view before showed other images than the teacher's.
        """
        if not 0 <= view < self.layout.views:
            raise InputError(
                f"{self._where}: expected a view from 0 to {self.layout.views - 1}, found {view}; "
                f"train with views: {self.layout.views}, so that they come round"
            )
        if view != self.view and self._watch is not None:
            self._watch.settle()
        self.view, self._ready = view, None

    def prepare(self, ids: Tensor) -> None:
        """Begin to fetch the rows of the next batch, while its ids are in the CPU's memory.

        Asked with ids that are on a device alone, a teacher must wait for that device.
        """
        is_away = self._place.device.type != "cpu" and ids.device.type == "cpu"
        if is_away and self._watch is not None:  # which finds out if other ids come in the end
            self._ready = ids, self._read(ids, self._place.device)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, inputs: Any, ids: Tensor | None = None) -> Signals:
        """Return what the cache holds for these samples in the current view.

        Args:
            inputs: What the student is shown: compared, and for a missing row asked about.
            ids: The samples' ids ``[B]``.

        Raises:
            InputError: There are no ids.
            ShapeError: There is another number of them than of images.
            DataError: A row is missing or damaged, or the images are others.
            TeacherError: The teacher is closed, or the one for missing rows does not fit.
        """
        if self._is_closed:
            raise TeacherError(f"{self._where}: the teacher is closed; provide([]) opens it again")
        if self.is_rehearsing:
            return self._any_rows(inputs)
        advice = "pass ids: distiller(inputs, target, ids), with Batch.ids"
        ids = _check.present(ids, self._where, "the samples' ids [B]", advice)
        images = images_of(inputs, ids, self._where)
        answer = self._taken(ids, images.device)
        if self._watch is not None:
            present, strangers = answer.present, answer.strangers
            self._watch.compare(images, answer.marks, ids, self.view, present, strangers)
        return self._completed(answer, inputs, ids)

    def provide(self, names: Sequence[str]) -> None:
        """Promise taps beside those promised before, to one user more; opens a closed teacher.

        Raises:
            TapError: The cache holds no such tap.
        """
        sources = sources_of(names, self.layout, self._where)
        if self.live is not None:
            self.live.provide(names)
        self._sources |= sources
        self._is_closed = False
        self._users += 1

    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        """Follow the student to a device; what was cached is not cast."""
        self._place = torch.empty(0, device=function(self._place).device)
        if self.live is not None:
            self.live.apply_to_tensors(function)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of the live teacher, if there is one."""
        if self.live is not None:
            yield from self.live.named_tensors()

    def close(self) -> None:
        """End one user's use; with the last, look at the images that were not yet compared.

        Raises:
            DataError: Some of them were not those that the teacher was asked about.
        """
        self._users = max(self._users - 1, 0)
        if self.live is not None:
            self.live.close()
        if self._users == 0:
            self._is_closed, self._ready = True, None
            if self._watch is not None:
                self._watch.settle()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_ready": None}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._users = 0
        self.close()

    def __repr__(self) -> str:
        kept = self.layout.kept
        what = f"top {kept} of {self.layout.num_classes}" if kept else f"{self.layout.num_classes}"
        return f"CachedTeacher({self.reader.path}: {what} classes, {self.layout.views} views)"

    def _any_rows(self, inputs: Any) -> Signals:
        tensors = tensors_in(inputs)
        count = len(tensors[0]) if tensors else 1
        ids = np.resize(self.reader.ids[:count], count)
        rows = self.reader.read(ids, self.view, absent="mask")
        device = tensors[0].device if tensors else self._place.device
        return moved(signals_from(rows, self._sources, self.outside), lambda t: _any(t, device))

    def _taken(self, ids: Tensor, device: torch.device) -> _Answer:
        ready, self._ready = self._ready, None
        if ready is not None and ready[1].marks.device == device and len(ready[0]) == len(ids):
            known, answer = ready
            # Whether they are those of this batch only the device can say: the watch asks it.
            return answer._replace(strangers=ids != known.to(device, non_blocking=True))
        return self._read(ids.cpu(), device)

    def _read(self, ids: Tensor, device: torch.device) -> _Answer:
        absent = "error" if self.live is None else "mask"
        rows = self.reader.read(ids.numpy(), self.view, absent=absent)
        is_whole = self.live is None or bool(rows.present.all())
        missing = None if is_whole else (~rows.present).nonzero().flatten()
        signals = signals_from(rows, self._sources, self.outside)
        marks, present = rows.marks, None if is_whole else rows.present
        if device.type != "cpu":
            signals, marks = moved(signals, lambda t: _sent(t, device)), _sent(marks, device)
        return _Answer(signals, marks, present, missing)

    def _completed(self, answer: _Answer, inputs: Any, ids: Tensor) -> Signals:
        """Return the answer with what the live teacher says of its missing rows."""
        if answer.missing is None or self.live is None:
            return answer.signals
        self.misses += len(answer.missing)
        where = answer.missing.to(ids.device)
        return filled(answer.signals, self.live(some_of(inputs, where), ids[where]), where)

    def _compared(self, expect: Mapping[str, Any], allow_stale: bool) -> list[Difference]:
        identity = self.reader.manifest.identity
        expected = json.loads(json.dumps(dict(expect)))
        found = {name: identity.get(name) for name in expected}
        if not allow_stale:
            refuse(str(self.reader.path), expected, found)
        stale = diff(expected, found)
        if stale:
            warnings.warn(
                f"{self._where}: trains with a cache of something else, as allow_stale allows:\n"
                f"{side_by_side(stale)}",
                stacklevel=3,
            )
        return stale


def _live(on_miss: str | Teacher) -> Teacher | None:
    if isinstance(on_miss, str):
        advice = "CachedTeacher.on_miss (or the teacher itself, such as FrozenTeacher(model))"
        _check.one_of(on_miss, ("error",), advice)
        return None
    if not isinstance(on_miss, Teacher):
        raise TeacherError(
            f"CachedTeacher.on_miss: expected 'error' or a teacher, found "
            f"{type(on_miss).__name__}; wrap a module in FrozenTeacher"
        )
    return on_miss


def images_of(inputs: Any, ids: Tensor, where: str) -> Tensor:
    """Return the first tensor in a batch's inputs, checked to have one row for each id."""
    tensors = tensors_in(inputs)
    if not tensors or ids.ndim != 1 or tensors[0].shape[:1] != ids.shape:
        found = _check.shape(tensors[0]) if tensors else type(inputs).__name__
        raise ShapeError(
            f"{where}: expected inputs [B, ...] and one id for each of them, found inputs {found} "
            f"and ids {_check.shape(ids)}; give the ids of this batch"
        )
    return tensors[0]


def _any(tensor: Tensor, device: torch.device) -> Tensor:
    """Return numbers that can be computed with, also where there is no row yet."""
    known = tensor.nan_to_num(nan=0.0) if tensor.is_floating_point() else tensor
    return known.to(device)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)
