"""Layers by name, as fasterai's users look them up."""

from typing import Any

from fastai.learner import Learner
from torch import nn

from tutelage.errors import TapError
from tutelage.taps import list_layers, match_layers, suggest


def get_model_layers(model: nn.Module, get_layer_repr: bool = False) -> list[str] | dict[str, str]:
    """Return the names of all layers of a model, or each name with the layer's ``repr``.

    >>> get_model_layers(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    ['0', '1']
    """
    names = [layer.name for layer in list_layers(model)]
    if not get_layer_repr:
        return names
    return {name: repr(model.get_submodule(name)) for name in names}


def get_module_by_name(module: nn.Module | Learner, access_string: str) -> nn.Module:
    """Return the layer of this name; of a ``Learner``, that of its model.

    Raises:
        TapError: There is none; the message has close matches. fasterai returns ``None``.
    """
    model: nn.Module = module.model if isinstance(module, Learner) else module
    try:
        return model.get_submodule(access_string)
    except AttributeError:
        hint = suggest(access_string, model)
        raise TapError(
            f"{type(model).__name__}: expected a layer, found no {access_string!r}; {hint}"
        ) from None


def match_feature_layers(student: nn.Module, teacher: nn.Module, x: Any) -> dict[str, list[str]]:
    """Return layers of both models that can be compared, for the ``activations_*`` of the callback.

    See :func:`tutelage.match_layers`, which also tells the shapes. Modes, buffers and random state
    of both models stay as they are.

    Args:
        student: The model to train.
        teacher: The model to learn from.
        x: One batch of inputs.

    Raises:
        TapError: No resolution is common to both.
    """
    pairs = match_layers(student, teacher, x)
    return {"student": [pair.student for pair in pairs], "teacher": [p.teacher for p in pairs]}
