"""Batches: one order of the samples for any number of processes, and the loader over it."""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from tutelage.data.batch import Batch
from tutelage.data.images import ImageData
from tutelage.data.seeds import mix, permutation
from tutelage.errors import InputError, TutelageError


class GlobalBatches:
    """The positions that one process of several takes from each batch of an epoch.

    The order of the whole epoch depends on ``seed`` and ``epoch`` only. Each global batch is cut
    into contiguous pieces, one per process, whose sizes differ by at most one: joined in the order
    of the ranks, they are the batch that a single process would see.

    A last batch with fewer samples than processes is dropped for all of them: a process without
    a sample would wait for ever, or average a loss over nothing. ``dropped`` counts the samples.

    Args:
        n: How many samples there are.
        batch_size: Samples per global batch, over all processes.
        seed: Seed of the order.
        epoch: Which epoch; each has its own order.
        rank: Which process this is, from 0.
        world_size: How many processes there are.
        drop_last: Whether to drop a last batch that is smaller than the others.
        shuffle: Whether the order is random; otherwise it is 0 to ``n - 1``.

    Raises:
        InputError: When a number is out of its range, or nothing would remain.

    >>> [list(GlobalBatches(5, 4, seed=0, epoch=0, rank=r, world_size=2, shuffle=False))
    ...  for r in (0, 1)]
    [[[0, 1]], [[2, 3]]]
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        *,
        seed: int,
        epoch: int,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        shuffle: bool = True,
    ) -> None:
        if n < 1:
            raise InputError(f"batches: expected at least 1 sample, found {n}: an empty data set")
        if batch_size < world_size:
            raise InputError(
                f"batches: expected a global batch_size of at least {max(world_size, 1)} (one "
                f"sample per process), found {batch_size}; raise batch_size"
            )
        if not 0 <= rank < world_size:
            raise InputError(f"batches: expected a rank from 0 to {world_size - 1}, found {rank}")
        self.n, self.batch_size, self.rank, self.world_size = n, batch_size, rank, world_size
        self.seed, self.epoch, self.shuffle = seed, epoch, shuffle
        rest = n % batch_size
        self.dropped = rest if rest < world_size or drop_last else 0
        if self.dropped == n:
            raise InputError(
                f"batches: expected at least one batch of {batch_size} over {world_size} "
                f"processes, found only {n} samples; lower batch_size or the number of processes"
            )

    def __len__(self) -> int:
        return math.ceil((self.n - self.dropped) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        if self.shuffle:
            order = permutation(self.n, "order", self.seed, self.epoch).tolist()
        else:
            order = list(range(self.n))
        for start in range(0, self.n - self.dropped, self.batch_size):
            size = min(self.batch_size, self.n - start)
            first = start + size * self.rank // self.world_size
            last = start + size * (self.rank + 1) // self.world_size
            yield order[first:last]


class Loader:
    """The batches of one epoch; made by :func:`loader`. It can be iterated any number of times."""

    def __init__(
        self, data: ImageData, batches: GlobalBatches, *, workers: int, pin_memory: bool
    ) -> None:
        self.data = data
        self.batches = batches
        self.workers = workers
        self.pin_memory = pin_memory

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        # A copy keeps the view of this moment, as worker processes do.
        data = copy.copy(self.data)
        return self._in_processes(data) if self.workers else self._here(data)

    def _here(self, data: ImageData) -> Iterator[Batch]:
        for indices in self.batches:
            batch = data.__getitems__(indices)
            yield batch.pin_memory() if self.pin_memory else batch

    def _in_processes(self, data: ImageData) -> Iterator[Batch]:
        # With its own generator the DataLoader leaves torch's global one alone.
        generator = torch.Generator().manual_seed(mix(self.batches.seed, self.batches.epoch) >> 1)
        yield from map(
            raised,
            DataLoader(
                Messenger(data),
                batch_sampler=self.batches,
                num_workers=self.workers,
                collate_fn=collate,
                pin_memory=self.pin_memory,
                generator=generator,
            ),
        )


def loader(
    data: ImageData,
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
    shuffle: bool = True,
    drop_last: bool = False,
    pin_memory: bool = False,
) -> Loader:
    """Return the batches of one epoch, for this process, as an iterable with a length.

    Without workers no ``DataLoader`` stands between: a batch from memory costs some tens of
    microseconds. Batches are the same with any number of workers.

    Args:
        data: The images.
        batch_size: Samples per global batch, over all processes; see :class:`GlobalBatches`.
        seed: Seed of the order.
        epoch: Which epoch.
        rank: Which process this is.
        world_size: How many processes there are.
        workers: Processes that read images. Each epoch starts its own.
        shuffle: Whether the order is random.
        drop_last: Whether to drop a last batch that is smaller than the others.
        pin_memory: Whether to put batches into page-locked memory for a GPU.

    Raises:
        InputError: When a number is out of its range.
    """
    if workers < 0:
        raise InputError(f"workers: expected a whole number of at least 0, found {workers}")
    batches = GlobalBatches(
        len(data),
        batch_size,
        seed=seed,
        epoch=epoch,
        rank=rank,
        world_size=world_size,
        drop_last=drop_last,
        shuffle=shuffle,
    )
    return Loader(data, batches, workers=workers, pin_memory=pin_memory)


def collate(batch: Any) -> Any:
    """Hand a batch through: the ``collate_fn`` for a ``DataLoader`` of your own."""
    return batch


class Batched(Protocol):
    """What gives whole batches."""

    def __getitems__(self, indices: Sequence[int], /) -> Batch:
        """Return the batch of these samples."""


class Messenger(Dataset[Batch]):
    """Hands errors over as values: a worker's exception would arrive with its whole traceback."""

    def __init__(self, data: Batched) -> None:
        self.data = data

    def __getitems__(self, indices: Sequence[int]) -> Batch | TutelageError:
        try:
            return self.data.__getitems__(indices)
        except TutelageError as error:
            return error


def raised(batch: Batch | TutelageError) -> Batch:
    """Return a batch that a :class:`Messenger` handed over, or raise its error here."""
    if isinstance(batch, TutelageError):
        raise batch
    return batch
