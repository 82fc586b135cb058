"""A model from its name, or from the user's own function."""

import inspect
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.errors import InputError, did_you_mean
from tutelage.models.registry import Builder, index
from tutelage.models.vision import from_timm, from_torchvision
from tutelage.models.weights import load_weights

_log = logging.getLogger(__name__)


def create(
    name: str | Callable[..., nn.Module],
    *,
    num_classes: int,
    in_channels: int = 3,
    size: tuple[int, int] | None = None,
    weights: str | Path | None = None,
    allow_random_head: bool = False,
    pretrained: bool = False,
    **options: Any,
) -> nn.Module:
    """Build a model.

    Args:
        name: One of :func:`index`, ``timm/NAME``, ``torchvision/NAME``, or a function (or class)
            that returns a module. A function is called with those of ``num_classes``,
            ``in_channels`` and ``size`` that it takes, and with ``options``.
        num_classes: Number of classes of the classifier.
        in_channels: Channels of the input.
        size: Height and width of the input in pixels, for models that depend on it (``mlp``).
            timm's take theirs as the option ``img_size``.
        weights: A local safetensors, .pt or .pth file, loaded strictly.
        allow_random_head: Accept weights whose classifier has another number of classes: all but
            the classifier is loaded, which stays untrained. This is logged as a warning.
        pretrained: Fetch the published weights (timm and torchvision only).
        options: Passed on to the model.

    Raises:
        InputError: An unknown name or option, weights that do not fit, or a function that
            returns no module.
        MissingPackageError: timm or torchvision is asked for and cannot be imported.
        DataError: The weight file is damaged or refused.
        ResourceError: Published weights cannot be fetched.

    >>> create("mlp", num_classes=10, in_channels=1, size=(8, 8), widths=(32,)).head
    Linear(in_features=32, out_features=10, bias=True)
    """
    if num_classes < 1 or in_channels < 1:
        raise InputError(
            "create: expected num_classes and in_channels of at least 1, "
            f"found {num_classes} and {in_channels}"
        )
    if pretrained and weights is not None:
        raise InputError("create: expected either pretrained=True or weights=PATH, found both")
    source, _, rest = name.partition("/") if isinstance(name, str) else ("", "", "")
    if isinstance(name, str) and rest and source in _OUTSIDE:
        model = _OUTSIDE[source](
            rest,
            num_classes=num_classes,
            in_channels=in_channels,
            pretrained=pretrained,
            allow_random_head=allow_random_head,
            **options,
        )
    else:
        builder, label = _find(name)
        if pretrained:
            raise InputError(f"{label}: it has no published weights; pass weights=PATH instead")
        offered = {"num_classes": num_classes, "in_channels": in_channels}
        model = _call(builder, label, offered | ({"size": size} if size else {}), options)
    if weights is not None:
        report = load_weights(model, weights, allow_random_head=allow_random_head)
        if report.random_head:
            _log.warning("%s: not loaded, untrained: %s", weights, ", ".join(report.random_head))
    return model


_OUTSIDE: dict[str, Builder] = {"timm": from_timm, "torchvision": from_torchvision}


def _find(name: str | Builder) -> tuple[Builder, str]:
    if not isinstance(name, str):
        if not callable(name):
            raise InputError(
                f"create: expected a model's name or a function, found {type(name).__name__}"
            )
        return name, getattr(name, "__name__", repr(name))
    known = index()
    if name not in known:
        raise InputError(
            f"{name!r}: unknown model; {did_you_mean(name, known)}; "
            "those of timm and torchvision are timm/NAME and torchvision/NAME"
        )
    return known[name], name


def _call(
    builder: Builder, label: str, offered: Mapping[str, Any], options: Mapping[str, Any]
) -> nn.Module:
    signature = inspect.signature(builder)
    parameters = signature.parameters
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        for option in options:
            if option not in parameters:
                raise InputError(
                    f"{label}: unknown option {option!r}; {did_you_mean(option, parameters)}"
                )
        offered = {key: value for key, value in offered.items() if key in parameters}
    arguments = {**offered, **options}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise InputError(f"{label}: {error}; called with {sorted(arguments)}") from error
    model = builder(**arguments)
    if not isinstance(model, nn.Module):
        raise InputError(f"{label}: expected it to return a module, found {type(model).__name__}")
    return model
