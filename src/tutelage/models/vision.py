"""Models of timm and torchvision, which are imported only when one is asked for."""

from importlib import import_module
from typing import Any

from torch import nn

from tutelage.errors import InputError, MissingPackageError, ResourceError, did_you_mean
from tutelage.models.weights import load_tensors


def from_timm(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    pretrained: bool,
    allow_random_head: bool,
    **options: Any,
) -> nn.Module:
    """Build timm's model ``name``, with an optional pretrained tag (``resnet18.a1_in1k``).

    Raises:
        InputError: The name, tag or an option is unknown, there are no pretrained weights, or
            they are for another number of classes and ``allow_random_head`` is not set: timm
            itself then gives the model a fresh random classifier without a word.
        ResourceError: The weights cannot be fetched.
        MissingPackageError: timm is missing or cannot be imported.
    """
    timm = _import("timm")
    label = f"timm/{name}"
    if not timm.is_model(name):
        raise InputError(f"{label}: unknown model; {did_you_mean(name, timm.list_models())}")
    tags = timm.list_pretrained(f"{name.split('.')[0]}.*")
    if "." in name and name not in tags:
        raise InputError(f"{label}: unknown pretrained tag; {did_you_mean(name, tags)}")
    if pretrained:
        _same_classes(label, _timm_classes(timm, name), num_classes, allow_random_head)
    try:
        model = timm.create_model(
            name, pretrained=pretrained, num_classes=num_classes, in_chans=in_channels, **options
        )
    except TypeError as error:
        raise InputError(f"{label}: {error}; check its options {sorted(options)}") from error
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        raise _cannot_fetch(label, error) from error
    return model  # type: ignore[no-any-return]


def from_torchvision(
    name: str,
    *,
    num_classes: int,
    in_channels: int,
    pretrained: bool,
    allow_random_head: bool,
    **options: Any,
) -> nn.Module:
    """Build torchvision's classifier ``name``; with ``pretrained``, with its default weights.

    It carries the ``pretrained_cfg`` of its default weights (mean, std, size) as timm's models do.

    Raises:
        InputError: As :func:`from_timm`; also if ``in_channels`` is not 3.
        ResourceError: The weights cannot be fetched.
        MissingPackageError: torchvision is missing or cannot be imported.
    """
    models = _import("torchvision.models")
    label = f"torchvision/{name}"
    known = models.list_models(module=models)
    if name not in known:
        raise InputError(f"{label}: unknown model; {did_you_mean(name, known)}")
    if in_channels != 3:
        raise InputError(
            f"{label}: expected in_channels=3, found {in_channels}; torchvision's models take "
            "colour images only, timm's (timm/NAME) take any number of channels"
        )
    default = models.get_model_weights(name).DEFAULT
    if pretrained:
        classes = len(default.meta["categories"])
        _same_classes(label, classes, num_classes, allow_random_head)
    try:
        model: nn.Module = models.get_model(name, num_classes=num_classes, **options)
    except TypeError as error:
        raise InputError(f"{label}: {error}; check its options {sorted(options)}") from error
    if pretrained:
        try:
            weights = default.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:
            raise _cannot_fetch(label, error) from error
        load_tensors(model, weights, source=label, allow_random_head=allow_random_head)
    model.pretrained_cfg = _torchvision_inputs(default)  # type: ignore[assignment]
    return model


def _import(name: str) -> Any:
    # A CUDA build of torchvision beside a CPU build of torch fails with RuntimeError or OSError.
    try:
        return import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        package = name.split(".")[0]
        raise MissingPackageError(
            f"{package}: it is not installed, or does not fit the installed torch ({error}); "
            'run pip install "tutelage[vision]"'
        ) from error


def _timm_classes(timm: Any, name: str) -> int:
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise InputError(
            f"timm/{name}: expected published weights, found none; "
            "pass weights=PATH, or a name from timm.list_pretrained()"
        )
    return int(config.num_classes)


def _torchvision_inputs(weights: Any) -> dict[str, Any]:
    preset = weights.transforms()
    size = tuple(preset.crop_size) * (2 if len(preset.crop_size) == 1 else 1)
    return {
        "mean": tuple(preset.mean),
        "std": tuple(preset.std),
        "input_size": (3, *size),
        "interpolation": preset.interpolation.value,
    }


def _same_classes(label: str, has: int, wanted: int, allow_random_head: bool) -> None:
    if has != wanted and not allow_random_head:
        raise InputError(
            f"{label}: expected pretrained weights for {wanted} classes, found them for {has}. "
            f"Either build the model with num_classes={has} and choose classes with "
            "FrozenTeacher(..., class_map=[...]), or pass allow_random_head=True for a fresh, "
            "untrained classifier"
        )


def _cannot_fetch(label: str, error: Exception) -> ResourceError:
    return ResourceError(
        f"{label}: its pretrained weights could not be fetched ({error}); "
        "connect to the network, or pass a local file with weights=PATH"
    )
