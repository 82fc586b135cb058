"""What each process of test_relations.py runs; alone it is the reference.

``python relations.py OUT`` or under torchrun: the batch is then split in several ways.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tutelage.losses.gather import gathered
from tutelage.training import open_ranks

CONTRACT = Path(__file__).parents[1] / "contract"
SAMPLES = 8
SPLITS = (4, 5, 1, 8)  # how many samples the first process has: the last leaves none to the second


class Judged(nn.Module):
    """A student of one linear layer, and the loss of its outputs."""

    def __init__(self, shape: tuple[int, ...], loss: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        width = torch.Size(shape[1:]).numel()
        self.shape, self.loss = shape[1:], loss
        self.student = nn.Linear(width, width).double()

    def forward(self, inputs: Tensor, *rest: Any) -> Tensor:
        return self.loss(self.student(inputs).unflatten(1, self.shape), *rest)


def measure(case: Any, ranks: Any, piece: slice) -> dict[str, Any]:
    """Return the loss of this process's piece, and the gradient of all."""
    shape = (SAMPLES, *case.shapes[0][1:])
    batch = case.batch(shape)
    inputs = torch.randn(SAMPLES, torch.Size(shape[1:]).numel(), dtype=torch.float64)
    module = Judged(shape, case.loss(batch))
    rest = [part if part is None else part[piece] for part in batch[1:]]
    arguments = rest if batch.ids is not None else rest[:2]
    values = []
    for _ in range(2):  # the second step sees what the first one left
        wrapped = module
        if ranks.world_size > 1:
            # What a loss keeps has to stay equal by itself.
            buffers = [name for name, _ in module.named_buffers()]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, buffers)
            wrapped = DistributedDataParallel(module)
        module.zero_grad()
        value = wrapped(inputs[piece], *arguments)
        # Losses that do not compare samples are means of their own process's samples.
        share = (
            1.0 if case.kind.compares_samples else ranks.world_size * len(inputs[piece]) / SAMPLES
        )
        (value * share).backward()
        values.append(value.item())
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    state = {name: tensor.clone() for name, tensor in module.loss.named_buffers()}
    return {"values": values, "gradients": gradients, "state": state}


def gather_oddly(ranks: Any) -> dict[str, Any]:
    """Gather what is unusual: no samples, other kinds of numbers, axes that do not fit."""
    found: dict[str, Any] = {}
    mine = torch.arange(ranks.rank * 3.0).unsqueeze(1)  # none and three
    for dtype in (torch.bool, torch.int64, torch.float16, torch.bfloat16):
        found[str(dtype)] = gathered(mine.to(dtype))
    leaf = torch.arange(2.0 + ranks.rank, requires_grad=True)
    together = gathered(leaf)
    (together * torch.arange(5.0) * (ranks.rank + 1)).sum().backward()
    found["gradient"] = leaf.grad
    found["transposed"] = gathered(torch.arange(6.0).view(2, 3).mT)
    with torch.no_grad():
        found["alone"] = gathered(leaf)
    for name, shape in (("width", (2, 3 + ranks.rank)), ("axes", (2,) * (2 + ranks.rank))):
        try:
            gathered(torch.zeros(shape))
        except ValueError as error:
            found[name] = str(error)
    return found


def main(out: Path) -> None:
    torch.set_num_threads(1)
    sys.path.insert(0, str(CONTRACT))
    from records.cases import cases

    with open_ranks("cpu") as ranks:
        found: dict[str, Any] = {"odd": gather_oddly(ranks) if ranks.world_size > 1 else {}}
        for first in SPLITS if ranks.world_size > 1 else (SAMPLES,):
            piece = (slice(first), slice(first, None))[ranks.rank]
            found[str(first)] = {
                case.name: measure(case, ranks, piece)
                for case in cases()
                if case.kind.compares_samples or case.kind.needs_ids
            }
        torch.save(found, out / f"{ranks.world_size}-{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
