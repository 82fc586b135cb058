"""A live teacher whose answers are kept as they are given: asked once, read ever after."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tutelage import _check
from tutelage.cache import Layout, TapSpec, marks_of
from tutelage.errors import InputError, ResourceError, ShapeError
from tutelage.signals import Signals, SparseLogits
from tutelage.teachers.answers import example_of, pruned
from tutelage.teachers.cached import CachedTeacher, images_of
from tutelage.teachers.first import some_of
from tutelage.teachers.protocol import Teacher
from tutelage.teachers.store import Store, check_writable


@dataclass(frozen=True)
class Cycle:
    """The views of a cache of which nothing else is known yet."""

    views: int
    view_seed: int


class WritingTeacher:
    """A live teacher that fills a cache: each row is asked for once, and read from then on.

    The first training with it costs what a live teacher costs while it meets images and views for
    the first time. What it hands out are the rows as they were kept, so that a training which is
    interrupted and resumed goes on bit by bit. With the last row the cache is finished, and
    :class:`~tutelage.teachers.CachedTeacher` reads it without the teacher. A cache that an earlier
    training has left half full is continued.

    Rows are computed outside of autocast, in the teacher's own precision. The files are made in
    their full size with the first batch, so that a full disk is found before anything is trained.

    Args:
        live: Whom to ask. Its answers must depend on the images alone.
        path: The cache's folder; made if it is not there.
        ids: The ids of all samples that will be asked about.
        identity: What the answers depend on, as JSON values; compared with that of a cache that
            is there.
        views: How many random versions of each sample the training shows.
        view_seed: Their seed.
        top_k: How many of the likeliest classes to keep; ``None`` keeps all logits.
        num_classes: How many classes there are; needed with ``top_k``.
        temperatures: With ``top_k``, those of the losses.
        dtype: ``"fp32"``, ``"fp16"`` or ``"bf16"``: how numbers are kept.
        outside: Of a top-k cache; see :class:`~tutelage.teachers.CachedTeacher`.
        about: What is worth keeping about the teacher, as JSON values.
        on_error: What to do when the cache cannot be written (the disk is full or read-only, or
            another process is filling it): ``"stop"``, or ``"live"`` to go on with the live
            teacher alone, with a warning. Rows that are written stay.

    Raises:
        ResourceError: The folder cannot be written; with ``on_error="stop"``.
        InputError: An option is out of range.
    """

    def __init__(
        self,
        live: Teacher,
        path: str | Path,
        *,
        ids: ArrayLike,
        identity: Mapping[str, Any],
        views: int = 1,
        view_seed: int = 0,
        top_k: int | None = None,
        num_classes: int | None = None,
        temperatures: Sequence[float] = (),
        dtype: str = "fp32",
        outside: str = "tail",
        about: Mapping[str, Any] | None = None,
        on_error: str = "stop",
    ) -> None:
        if top_k is not None and num_classes is None:
            raise InputError(
                "WritingTeacher.top_k: expected num_classes with it, found none; give that of the "
                "teacher's logits"
            )
        self.live, self.path, self.outside = live, Path(path), outside
        self.on_error = _check.one_of(on_error, ("stop", "live"), "WritingTeacher.on_error")
        self._ids, self._identity = np.asarray(ids, np.int64), dict(identity)
        self._about, self._classes = dict(about or {}), num_classes
        self._options: dict[str, Any] = {
            "top_k": top_k,
            "temperatures": tuple(temperatures),
            "dtype": dtype,
            "views": views,
            "view_seed": view_seed,
        }
        # Refuses options that are out of range; the classes may not be known yet.
        self._example = example_of(Layout(num_classes=num_classes or 2, **self._options), outside)
        self.view = 0
        #: How many rows the live teacher was asked for.
        self.misses = 0
        self._promised: tuple[str, ...] = ()
        self._users = 0
        self._store: Store | None = None
        self._cached: CachedTeacher | None = None
        self._is_only_live = False
        self._guarded(lambda: check_writable(self.path))

    @property
    def layout(self) -> Layout | Cycle:
        """What the cache holds; until the first batch shows it, only the views are known."""
        if self._store is not None:
            return self._store.layout
        return Cycle(self._options["views"], self._options["view_seed"])

    @property
    def identity(self) -> Mapping[str, Any]:
        """For whom the cache is made; see the class."""
        return self._identity

    @property
    def sparse_example(self) -> SparseLogits | None:
        """What the logits look like where only the likeliest classes are kept."""
        return self._example

    def set_view(self, view: int) -> None:
        """Name the random version of the images that the next batches show, from 0.

        Raises:
            InputError: The cache is to hold no such view.
            DataError: A batch of the view before showed other images than were kept.
        """
        views = self._options["views"]
        if not 0 <= view < views:
            raise InputError(
                f"cache {self.path}: expected a view from 0 to {views - 1}, found {view}; train "
                f"with views: {views}, so that they come round"
            )
        self.view = view
        if self._cached is not None:
            self._cached.set_view(view)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, inputs: Any, ids: Tensor | None = None) -> Signals:
        """Return the rows of these samples in the current view, asking for those that are lacking.

        Without ids nothing is kept: a distiller tries its pieces so.

        Raises:
            ResourceError: The cache cannot be made; with ``on_error="stop"``.
            DataError: The images are others than those that were kept, or a row is damaged.
            NumericalError: The teacher's answer is not finite, or too large for the dtype.
            InputError: A sample is none of those that the cache is for.
        """
        if ids is None or self._is_only_live:
            return self._pruned(self._ask(inputs, ids))
        images = images_of(inputs, ids, f"cache {self.path}")
        known = ids.cpu()
        first = None
        if self._store is None:
            first = self._ask(inputs, ids)
            if not self._opened(first):
                return self._pruned(first)
        assert self._store is not None
        assert self._cached is not None
        lacking = self._store.lacking(known, self.view)
        if lacking is not None:
            places = torch.from_numpy(lacking).nonzero().flatten()
            where = places.to(images.device)
            if first is None or len(places) < len(ids):
                first = self._ask(some_of(inputs, where), ids[where])
            self._store.keep(known[places], self.view, first, marks_of(images[where]))
            self.misses += len(places)
        found: Signals = self._cached(inputs, ids)
        return found

    def provide(self, names: Sequence[str]) -> None:
        """Promise taps beside those promised before, to one user more; opens a closed teacher.

        Raises:
            TapError: The live teacher, or the cache that is begun, has no such tap.
        """
        if self._cached is not None:
            self._cached.provide(names)
        self.live.provide(names)
        self._promised = tuple(dict.fromkeys((*self._promised, *names)))
        self._users += 1

    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        """Move or cast the live teacher."""
        self.live.apply_to_tensors(function)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of the live teacher."""
        yield from self.live.named_tensors()

    def close(self) -> None:
        """End one user's use; with the last, finish the cache if it is whole, and let it go.

        Raises:
            ResourceError: The disk refuses; with ``on_error="stop"``.
        """
        self._users = max(self._users - 1, 0)
        self.live.close()
        if self._users == 0:
            cached, self._cached = self._cached, None
            store, self._store = self._store, None
            try:
                if store is not None:
                    self._guarded(store.close)
            finally:
                if cached is not None:
                    cached.__exit__()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for _ in range(max(self._users, 1)):
            self.close()

    def _opened(self, shown: Signals) -> bool:
        """Make the files, of the shapes that the first batch shows; whether that went well."""
        layout = self._layout_for(shown)

        def open_() -> None:
            self._store = Store(self.path, layout, self._ids, self._identity, self._about)

        self._guarded(open_)
        if self._store is None:
            return False
        self._cached = CachedTeacher(self.path, outside=self.outside, partial=True)
        self._cached.provide(self._promised)
        self._cached.set_view(self.view)
        return True

    def _layout_for(self, shown: Signals) -> Layout:
        logits = shown.logits
        if isinstance(logits, SparseLogits) or (logits is not None and logits.ndim != 2):
            raise ShapeError(
                f"cache {self.path}: expected a live teacher with logits [B, C], found "
                f"{logits!r}; a cache holds one answer for each image"
            )
        classes = None if logits is None else logits.shape[1]
        if self._classes not in (None, classes):
            raise ShapeError(
                f"cache {self.path}: expected a teacher of {self._classes} classes, found "
                f"{classes}; correct num_classes, or give the teacher a class_map"
            )
        taps = tuple(TapSpec(n, tuple(shown.taps[n].shape[1:])) for n in self._promised)
        return Layout(num_classes=classes, taps=taps, **self._options)

    def _ask(self, inputs: Any, ids: Tensor | None) -> Signals:
        # So that a row is the same whatever the precision in which its student trains.
        device = next((t.device.type for _, t in self.live.named_tensors()), "cpu")
        with torch.autocast(device, enabled=False):
            return self.live(inputs, ids)

    def _pruned(self, signals: Signals) -> Signals:
        if self._example is None:
            return signals
        return pruned(signals, self._example)

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do what may fail for lack of room or rights; then stop, or go on without a cache."""
        try:
            action()
        except ResourceError as error:
            if self.on_error == "stop":
                raise
            self._is_only_live = True
            warnings.warn(f"goes on with the live teacher and keeps nothing: {error}", stacklevel=3)
