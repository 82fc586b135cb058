"""The samples of all processes, with gradients: for losses that compare samples with each other."""

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn.functional import pad

from tutelage._check import shape
from tutelage.errors import ShapeError

AXES = 8  # at most, of what is gathered


def gathers() -> bool:
    """Return whether there are other processes, and gradients, so that batches are gathered."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return False
    return torch.is_grad_enabled()


def gathered(tensor: Tensor) -> Tensor:
    r"""Return the batches of all processes as one, in the order of their ranks.

    Each process then computes the same loss of the whole batch. The gradient that comes back to a
    process is the sum of what all of them send to its samples, which DDP's mean over processes
    turns into the gradient of one process with the whole batch. Batches may have unequal sizes.
    Without processes, or without gradients (one process may evaluate alone), the tensor is
    returned as it is.

    Raises:
        ShapeError: The processes' tensors differ in more than the batch.
    """
    if not gathers():
        return tensor
    sizes = _sizes(tensor)
    longest = max(sizes)
    padded = pad(tensor, [0, 0] * (tensor.ndim - 1) + [0, longest - len(tensor)])
    parts = _Gather.apply(padded.contiguous())
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _sizes(tensor: Tensor) -> list[int]:
    # Of one length whatever the axes: a process that sends more than others expect aborts them.
    mine = torch.full((1 + AXES,), tensor.ndim, device=tensor.device)
    mine[1 : 1 + tensor.ndim] = torch.tensor(tensor.shape, device=tensor.device)
    shapes = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(shapes, mine)
    found = [axes[:ndim] for ndim, *axes in (one.tolist() for one in shapes)]
    if any(one[1:] != found[0][1:] for one in found):
        raise ShapeError(
            f"gather: expected equal features in every process, found {shape(tensor)} in process "
            f"{dist.get_rank()} among {found}; use one image size, or the loss's gather=False"
        )
    return [one[0] for one in found]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, tensor: Tensor) -> tuple[Tensor, ...]:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor)
        return tuple(parts)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        total = torch.stack(gradients)
        dist.all_reduce(total)
        return total[dist.get_rank()].clone()  # or the gradients of all would stay
