"""A cache while a training fills it: which rows are lacking, and what is done with the others'."""

import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, distributed

from tutelage.cache import Layout, Writer, encode, few_kept
from tutelage.errors import ResourceError, TutelageError
from tutelage.signals import Signals

_PATIENCE = 300.0  # seconds in which the first process must have made the files
_PAUSE = 0.1


class Store:
    """The files of a cache, open for rows in any order; several processes may share it.

    Args:
        path: The folder.
        layout: What a row holds.
        ids: The ids of all samples.
        identity: What the rows depend on.
        about: What is worth keeping about the teacher.

    Raises:
        ResourceError: The files cannot be made, or another process makes this cache.
        DataError: There is a cache of something else.
    """

    def __init__(
        self,
        path: Path,
        layout: Layout,
        ids: NDArray[np.int64],
        identity: Mapping[str, Any],
        about: Mapping[str, Any],
    ) -> None:
        self.layout, self._about = layout, about
        self._rank, self._processes = _place()

        def create() -> Writer:
            return Writer.create(
                path,
                layout,
                ids,
                identity,
                rank=self._rank,
                world_size=self._processes,
                shared=True,
                wait=False,
            )

        self._writer = create() if self._rank == 0 else _patiently(create)
        self._left = sum(len(self._writer.missing([view])) for view in range(layout.views))
        self._view = -1
        self._lacking = np.zeros(0, bool)  # of this view, by position
        self._any_lacking = False
        if not self._left:
            self.finish()

    def lacking(self, ids: Tensor, view: int) -> NDArray[np.bool_] | None:
        """Return which samples ``[B]`` have no row yet in a view; ``None`` if all have."""
        if view != self._view:
            self._turn_to(view)
        if not self._any_lacking:
            return None
        found: NDArray[np.bool_] = self._lacking[self._writer.positions_of(ids.numpy())]
        return found if found.any() else None

    def keep(self, ids: Tensor, view: int, signals: Signals, marks: Tensor) -> None:
        """Write the rows of some samples; with the last row of all the cache is finished.

        Raises:
            NumericalError: A row is not finite or does not fit the layout's type.
            ShapeError: A tensor has another shape than the layout's.
        """
        samples = ids.numpy()
        columns = encode(self.layout, signals, samples)
        positions = self._writer.positions_of(samples)
        self._left -= self._writer.write(positions, view, columns, marks.cpu().numpy())
        self._lacking[positions] = False
        self._any_lacking = bool(self._lacking.any())
        if not self._left and self._processes == 1:
            self.finish()

    def finish(self) -> None:
        """Write the manifest if all rows of all processes are there; for the first process."""
        writer = self._writer
        if self._rank or writer.manifest.finished or len(writer.missing()):
            return
        warning = few_kept(writer.finish({"teacher": dict(self._about)}))
        if warning:
            warnings.warn(warning, stacklevel=3)

    def close(self) -> None:
        """Finish it if it is whole, and let others write.

        Raises:
            ResourceError: The disk refuses.
        """
        self.finish()
        self._writer.close()

    def _turn_to(self, view: int) -> None:
        if self._processes > 1:
            self.finish()  # what the others wrote in the view before may have been the rest
        self._lacking = np.zeros(len(self._writer.ids), bool)
        self._lacking[self._writer.missing([view])] = True
        self._view, self._any_lacking = view, bool(self._lacking.any())


def check_writable(path: Path) -> None:
    """Raise if the folder, or the one in which it would be made, cannot be written.

    Raises:
        ResourceError: It cannot.
    """
    folder = path
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ResourceError(
            f"cache {path}: expected a folder that can be written, found that {folder} cannot; "
            "choose a folder of your own (reading a finished cache needs no write access)"
        )


def _place() -> tuple[int, int]:
    """Return the number of this process and how many there are."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def _patiently(create: Callable[[], Writer]) -> Writer:
    """Return the writer once the first process has made the files.

    It is not waited for together, since nothing says that all processes ask their teacher alike.
    """
    start = time.monotonic()
    while True:
        try:
            return create()
        except TutelageError:
            if time.monotonic() - start > _PATIENCE:
                raise
            time.sleep(_PAUSE)
