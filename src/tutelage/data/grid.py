"""A fixed grid of batches over samples and views: the same pieces however often one begins anew."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Generator, from_numpy
from torch.utils.data import DataLoader, Dataset

from tutelage.data.batch import Batch
from tutelage.data.batches import Messenger, collate, raised
from tutelage.data.images import ImageData

Cell = tuple[int, int]
"""A block of samples and a view."""


class Grid:
    """Batches of ``batch_size`` samples in the order of their ids, each in every view.

    Cell ``(block, view)`` is the samples at positions ``block * batch_size`` up to the next block,
    in one view. What a model computes for a sample may depend, in its last bits, on the batch
    around it: in the same cell it is always the same one.

    Args:
        data: The images, with the seed of their views.
        batch_size: Samples in a cell; the last block may have fewer.
    """

    def __init__(self, data: ImageData, batch_size: int) -> None:
        self.data = copy.copy(data)
        self.batch_size = batch_size
        self._order: NDArray[np.int64] = data.ids.argsort().numpy()

    def positions(self, block: int) -> NDArray[np.int64]:
        """Return the positions of a block's samples in the order of the ids."""
        start = block * self.batch_size
        return np.arange(start, min(start + self.batch_size, len(self._order)))

    def read(self, cell: Cell) -> Batch:
        """Return the batch of a cell."""
        block, view = cell
        self.data.set_view(view)
        return self.data.__getitems__(from_numpy(self._order[self.positions(block)]))

    def batches(
        self, cells: Sequence[Cell], *, workers: int = 0, pin_memory: bool = False
    ) -> Iterator[Batch]:
        """Yield the batches of these cells, in their order.

        Args:
            cells: Which.
            workers: Processes that read images.
            pin_memory: Whether to put batches into page-locked memory for a GPU.
        """
        if not workers:
            yield from map(self.read, cells)
            return
        reader = DataLoader(
            Messenger(_Cells(self, cells)),
            batch_sampler=[[number] for number in range(len(cells))],
            num_workers=workers,
            collate_fn=collate,
            pin_memory=pin_memory,
            generator=Generator().manual_seed(0),  # torch's global one is left alone
        )
        yield from map(raised, reader)


class _Cells(Dataset[Batch]):
    """The cells as a data set whose samples are whole batches."""

    def __init__(self, grid: Grid, cells: Sequence[Cell]) -> None:
        self.grid, self.cells = grid, cells

    def __getitems__(self, numbers: Sequence[int]) -> Batch:
        return self.grid.read(self.cells[numbers[0]])
