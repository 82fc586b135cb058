"""Where a classifier's head stands: its layers, the width before it, the classes behind it."""

from typing import Any

from torch import nn

_Linear = nn.Linear | nn.Conv2d


def head_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of a model's classifier layers: two for timm's distilled transformers.

    timm's models name theirs; of any other model it is the last linear layer, if it has one.

    >>> head_names(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
    ('2',)
    """
    get: Any = getattr(model, "get_classifier", None)
    stated = get() if callable(get) else ()
    heads = [m for m in (stated if isinstance(stated, tuple | list) else (stated,))]
    named = list(model.named_modules())
    names = [name for name, module in named if _linear(module) and any(module is h for h in heads)]
    if not names:
        names = [name for name, module in named if isinstance(module, nn.Linear)][-1:]
    return tuple(names)


def features_before(model: nn.Module, head: str) -> int | None:
    """Return how many features enter the layer ``head``, if that can be told."""
    linear = _linear(model.get_submodule(head))
    if linear is None:
        return None
    return linear.in_features if isinstance(linear, nn.Linear) else linear.in_channels


def classes_of(model: nn.Module) -> int | None:
    """Return the number of classes that a model tells apart, if that can be told."""
    stated = getattr(model, "num_classes", None)
    if isinstance(stated, int) and stated > 0:
        return stated
    for name in head_names(model):
        linear = _linear(model.get_submodule(name))
        if linear is not None:
            return linear.out_features if isinstance(linear, nn.Linear) else linear.out_channels
    return None


def channels_of(model: nn.Module) -> int | None:
    """Return the channels of the images that a model takes, if that can be told."""
    stated = getattr(model, "in_chans", None)
    if isinstance(stated, int):
        return stated
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    return None


def _linear(module: nn.Module) -> _Linear | None:
    """Return the layer itself, or the one in a head that also normalises (LeViT's)."""
    found = (part for part in module.modules() if isinstance(part, _Linear))
    return next(found, None)
