"""Watch one forward of a model, layer by layer, and leave the model as it was."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.signals import call


@dataclass
class Seen:
    """What one layer did in the forward.

    Args:
        name: The layer's name.
        module: The layer.
        shape: Shape of its latest output.
        tensor: Identity of that output: layers that pass one tensor on share it.
        order: Its place in the order in which layers finished.
        calls: How often it ran.
    """

    name: str
    module: nn.Module
    shape: tuple[int, ...]
    tensor: int
    order: int
    calls: int


def layer_shapes(model: nn.Module, inputs: Any) -> dict[str, tuple[int, ...]]:
    """Return the output shape of each layer that gives a tensor, in the order they finish.

    Runs one forward in eval mode without gradients. Modes, buffers, hooks and random state of the
    model are as before, also after an exception.

    Args:
        model: Any module.
        inputs: A tensor, a tuple of positional or a dict of keyword arguments.

    >>> layer_shapes(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.zeros(5, 2))
    {'0': (5, 3), '1': (5, 3)}
    """
    return {seen.name: seen.shape for seen in trace(model, inputs)}


def trace(model: nn.Module, inputs: Any) -> list[Seen]:
    """Return what each layer did that gave a tensor, in the order in which they finished."""
    found: dict[str, Seen] = {}
    # Kept alive until the end, so that the identity of a tensor is not given away twice.
    alive: list[Tensor] = []

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name:
                handle = module.register_forward_hook(_Watch(name, found, alive))
                stack.callback(handle.remove)
        stack.enter_context(_unchanged(model))
        call(model, inputs)
    return sorted(found.values(), key=lambda seen: seen.order)


class _Watch:
    def __init__(self, name: str, found: dict[str, Seen], alive: list[Tensor]) -> None:
        self.name, self.found, self.alive = name, found, alive

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        before = self.found.get(self.name)
        calls = before.calls + 1 if before else 1
        self.alive.append(output)
        self.found[self.name] = Seen(
            self.name, module, tuple(output.shape), id(output), len(self.alive), calls
        )


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Run in eval mode without gradients; give back modes, buffers and random state."""
    # Flags are set one by one: a model may override train(), and parts may be in another mode.
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer._version, buffer.clone()) for buffer in model.buffers()]
    # A forward may also put another tensor in a buffer's place.
    places = [(module._buffers, dict(module._buffers)) for module in model.modules()]
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    cuda = [device for device in devices if device.type == "cuda"]
    with torch.random.fork_rng(devices=cuda), torch.no_grad():
        try:
            for module, _ in modes:
                module.training = False
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for place, objects in places:
                place.clear()
                place.update(objects)
            for buffer, version, kept in buffers:
                if buffer._version != version:
                    buffer.copy_(kept)
