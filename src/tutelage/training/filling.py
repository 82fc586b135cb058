"""Filling a cache: the teacher's answers, cell by cell of a fixed grid."""

from collections import deque
from collections.abc import Callable

import numpy as np
from torch import Tensor

from tutelage.cache import Writer, encode, marks_of
from tutelage.data.grid import Cell, Grid
from tutelage.signals import Signals
from tutelage.teachers import Teacher
from tutelage.training.distributed import Ranks

OnLabelled = Callable[[int, int], None]
"""Called on the main process with the rows that it has written, and how many it is to write."""

_AHEAD = 1  # batches that the device works on while an earlier one is written


def fill(
    writer: Writer,
    teacher: Teacher,
    grid: Grid,
    ranks: Ranks,
    workers: int,
    progress: OnLabelled | None,
) -> int:
    """Ask about everything that is missing of this process's range, and write the answers.

    While the device works on a batch, the answers to the one before are written.

    Args:
        writer: The cache, open for writing.
        teacher: On its device, with the taps of the cache's layout.
        grid: The images, in the views of the cache.
        ranks: The processes that label together.
        workers: Processes that read images.
        progress: Told after each batch.

    Returns:
        The number of rows that were new.

    Raises:
        NumericalError: If an answer is not finite or too large for the layout; names the samples.
    """
    cells = _open_cells(writer, grid)
    first, last = writer.positions.start, writer.positions.stop
    todo = sum(len(writer.missing([view])) for view in range(writer.manifest.layout.views))
    waiting: deque[tuple[Cell, Tensor, Signals, Tensor]] = deque()
    written = 0

    def write_oldest() -> int:
        (block, view), ids, signals, marks = waiting.popleft()
        columns = encode(writer.manifest.layout, signals, ids.tolist())
        positions = grid.positions(block)
        # A block across the border of two ranges is computed by both processes.
        mine = (positions >= first) & (positions < last)
        chosen = {name: values[mine] for name, values in columns.items()}
        return writer.write(positions[mine], view, chosen, marks.cpu().numpy()[mine])

    batches = grid.batches(cells, workers=workers, pin_memory=ranks.device.type == "cuda")
    for cell, batch in zip(cells, batches, strict=True):
        inputs = batch.inputs.to(ranks.device, non_blocking=True)
        waiting.append((cell, batch.ids, teacher(inputs, batch.ids), marks_of(inputs)))
        if len(waiting) > _AHEAD:
            written += write_oldest()
        if progress is not None and ranks.is_main:
            progress(written, todo)
    while waiting:
        written += write_oldest()
    if progress is not None and ranks.is_main:
        progress(written, todo)
    return written


def _open_cells(writer: Writer, grid: Grid) -> list[Cell]:
    """Return the cells in which a row of this process is missing, block by block."""
    return sorted(
        (block, view)
        for view in range(writer.manifest.layout.views)
        for block in np.unique(writer.missing([view]) // grid.batch_size).tolist()
    )
