"""What normalisers with statistics share: rows of features, sums over processes, their state."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch import distributed as dist


def by_feature(tensor: Tensor) -> Tensor:
    """Return ``[rows, features]`` in float64: pixels and tokens are rows of their own.

    float64, since a variance as a difference of means loses half the digits.
    """
    features = tensor.movedim(1, -1) if tensor.ndim == 4 else tensor
    return features.reshape(-1, features.shape[-1]).double()


def over_processes(*sums: Tensor) -> tuple[Tensor, ...]:
    """Return each sum over all processes; all of them must call it, as they do in training."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        for one in sums:
            dist.all_reduce(one)
    return sums


def load_unsized(module: nn.Module, state: Mapping[str, Any], prefix: str, *_: object) -> None:
    """Make room for the statistics of a state before it is loaded: a hook on loading."""
    for name, buffer in module._buffers.items():
        if buffer is None and prefix + name in state:
            setattr(module, name, state[prefix + name].new_zeros(state[prefix + name].shape))
