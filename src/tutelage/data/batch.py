"""``Batch``: what a loader hands to a training step."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Images with their labels and the ids by which a cached teacher knows them.

    A batch unpacks like a tuple: ``inputs, target, ids = batch``.

    Args:
        inputs: Normalised images, float32.
        target: Class indices, int64; class probabilities ``[B, C]`` once a batch is mixed.
        ids: Stable sample ids, int64: the same image has the same id in every epoch and subset.
        view: Which random version of the images this is, as the data set that made the batch knew
            it: a worker that was started earlier may still give another one than was asked for
            last. It is not unpacked.
    """

    inputs: Float[Tensor, "B C H W"]
    target: Int[Tensor, "B"] | Float[Tensor, "B C"]
    ids: Int[Tensor, "B"]
    view: int = 0

    def __len__(self) -> int:
        return len(self.target)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.inputs, self.target, self.ids))

    def to(self, device: str | torch.device, non_blocking: bool = False) -> "Batch":
        """Return this batch on ``device``; ``non_blocking`` helps only from pinned memory."""
        return self.with_parts(*(part.to(device, non_blocking=non_blocking) for part in self))

    def pin_memory(self) -> "Batch":
        """Return this batch in page-locked memory, from which a GPU can copy by itself."""
        return self.with_parts(*(part.pin_memory() for part in self))

    def with_parts(self, inputs: Tensor, target: Tensor, ids: Tensor) -> "Batch":
        """Return a batch of the same view with these tensors in place of its own."""
        return replace(self, inputs=inputs, target=target, ids=ids)
