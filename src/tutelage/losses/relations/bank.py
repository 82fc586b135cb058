"""A memory of one vector for each sample of the training set, and draws from it."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tutelage.losses.gather import gathered
from tutelage.losses.relations.geometry import unit


class MemoryBank(nn.Module):
    """The latest vector of every sample, slowly moving: ``size * width * 4`` bytes in float32.

    It starts with uniform numbers of a variance of ``1 / width``, the same in every process.

    Args:
        size: How many samples there are.
        width: Of a vector.
        momentum: Share of the old vector that an update keeps, from 0 to 1.
        seed: Of its start.
    """

    vectors: Tensor

    def __init__(self, size: int, width: int, *, momentum: float, seed: int) -> None:
        super().__init__()
        self.momentum = momentum
        start = torch.rand(size, width, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("vectors", (2 * start - 1) * (3 / width) ** 0.5)

    def __len__(self) -> int:
        return len(self.vectors)

    @torch.no_grad()
    def update(self, ids: Int[Tensor, "B"], vectors: Float[Tensor, "B D"]) -> None:
        """Mix new vectors into those of their samples and bring them to length 1.

        One that is not finite changes nothing: every later batch that draws it would be lost.
        """
        old = self.vectors[ids]
        mixed = unit(self.momentum * old + (1 - self.momentum) * vectors.to(old.dtype))
        mixed = torch.where(mixed.isfinite().all(1, keepdim=True), mixed, old)
        self.vectors.index_copy_(0, ids, mixed)


def of_all_processes(tensor: Tensor) -> Tensor:
    """Return what all processes show the bank, so that all keep the same one; no gradient."""
    return gathered(tensor.detach())


def draw(
    ids: Int[Tensor, "B"], count: int, below: int, *, seed: int, turn: Tensor
) -> Int[Tensor, "B count"]:
    """Return ``count`` numbers from 0 to ``below - 1`` for each sample, drawn with replacement.

    They follow from the seed, the turn and the sample's id alone: not from the device, the place
    in the batch or the number of processes, and a run that goes on draws what it would have drawn.

    Args:
        ids: Ids of the samples.
        count: How many to draw for each.
        below: How many there are to draw from, below 2^32.
        seed: Of the whole run.
        turn: Whole number without axes; another one gives other draws.

    >>> draw(torch.tensor([3, 3]), 4, 10, seed=0, turn=torch.tensor(0)).unique(dim=0).shape
    torch.Size([1, 4])
    """
    lanes = torch.arange(count, device=ids.device)
    start = _mixed(_mixed(turn.to(ids.device) + _LARGE * seed) ^ ids)
    return _mixed(start.unsqueeze(1) ^ lanes) % below


_LARGE = 0x45D9F3B  # a factor that spreads the bits of 32-bit numbers over one another


def _mixed(numbers: Tensor) -> Tensor:
    """Return 32-bit numbers in disorder, one to one; int64 holds every product."""
    for _ in range(2):
        numbers = numbers & 0xFFFFFFFF
        numbers = (numbers ^ (numbers >> 16)) * _LARGE
    numbers = numbers & 0xFFFFFFFF
    return numbers ^ (numbers >> 16)
