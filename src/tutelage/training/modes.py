"""Training and eval mode: switched for a while, then given back as the caller had them."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """Put a module into training mode and give each part its own mode back at the end.

    A part in eval mode with parameters of which none trains stays as it is, with all inside it:
    this is how a batch norm is frozen with its statistics.
    """
    modes = _modes(model)
    model.train()
    for part, was_training in modes.items():
        if not was_training and _is_frozen(part):
            for inner in part.modules():
                inner.training = modes[inner]
    try:
        yield
    finally:
        _restore(modes)


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put a module into eval mode and give each part its own mode back at the end."""
    modes = _modes(model)
    model.eval()
    try:
        yield
    finally:
        _restore(modes)


def needs_two_samples(model: nn.Module) -> bool:
    """Return whether a part takes statistics over the samples that its own process sees."""
    return any(
        isinstance(part, _BatchNorm) and part.training and not isinstance(part, nn.SyncBatchNorm)
        for part in model.modules()
    )


def _is_frozen(part: nn.Module) -> bool:
    parameters = list(part.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def _modes(model: nn.Module) -> dict[nn.Module, bool]:
    return {part: part.training for part in model.modules()}


def _restore(modes: dict[nn.Module, bool]) -> None:
    for part, mode in modes.items():
        part.training = mode
