"""What each process of test_statistics_of_all.py runs; alone it is the reference.

``python statistics_of_all.py OUT`` or under torchrun, where each process takes half the batch.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from tutelage.losses import Loss, PKDLoss, VkDLoss
from tutelage.training import open_ranks


def measure(loss: Loss, rows: slice, *whole: Tensor) -> tuple[Tensor, Tensor]:
    """Return value and gradient of a loss, given these samples of its batch."""
    student, *rest = (tensor[rows] for tensor in whole)
    student.requires_grad_()
    value = loss(student, *rest)
    value.backward()
    return value.detach(), student.grad


def main(out: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    maps, vectors = torch.randn(2, 4, 3, 2, 5), torch.randn(2, 4, 3)
    target = torch.randint(3, (4, 2, 5))
    target[3, :, 2:] = -100  # the first process drops nothing
    with open_ranks("cpu") as ranks:
        size = 4 // ranks.world_size
        rows = slice(ranks.rank * size, (ranks.rank + 1) * size)
        found = {
            "holes": measure(PKDLoss(), rows, *maps, target),
            "whitened": measure(VkDLoss(normalise="whiten"), rows, *vectors),
        }
        torch.save(found, out / f"{ranks.world_size}-{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
