"""List the layers of a model by name, and help with names that do not exist."""

from dataclasses import dataclass

from torch import nn
from torch.nn.parameter import is_lazy

from tutelage.errors import did_you_mean


@dataclass(frozen=True)
class Layer:
    """One layer of a model.

    Args:
        name: Its name for :class:`~tutelage.taps.Taps`: ``"layer3.0.conv1"``.
        kind: Its class: ``"Conv2d"``.
        params: Number of parameters in it and below it; uninitialised ones count as 0.
        depth: Nesting level; 1 for direct children of the model.
    """

    name: str
    kind: str
    params: int
    depth: int


def list_layers(model: nn.Module, *, leaves_only: bool = False) -> list[Layer]:
    """Return all layers of ``model`` in the order of their definition, without the model itself.

    Args:
        model: Any module.
        leaves_only: Whether to leave out layers that contain others.

    >>> list_layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))[0]
    Layer(name='0', kind='Linear', params=9, depth=1)
    """
    return [
        Layer(name, type(module).__name__, _count(module), name.count(".") + 1)
        for name, module in model.named_modules()
        if name and not (leaves_only and any(True for _ in module.children()))
    ]


def suggest(name: str, model: nn.Module) -> str:
    """Return what to add to a message about a layer that does not exist.

    >>> suggest("fc.wieght", nn.ModuleDict({"fc": nn.Linear(2, 2)}))
    'known: fc; list_layers(model) shows them all'
    """
    known = [layer for layer, _ in model.named_modules(remove_duplicate=False) if layer]
    return f"{did_you_mean(name, known)}; list_layers(model) shows them all"


def _count(module: nn.Module) -> int:
    return sum(0 if is_lazy(p) else p.numel() for p in module.parameters())
