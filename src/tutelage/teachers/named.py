"""The module of a teacher from what the user gave: a module or a name, and weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage.errors import TeacherError
from tutelage.models import create, load_weights
from tutelage.teachers.inputs import InputSpec, input_spec_of


def resolve(
    model: nn.Module | str,
    *,
    inputs: InputSpec | None,
    weights: str | Path | None,
    allow_random_head: bool,
    dtype: torch.dtype | None,
    **options: Any,
) -> tuple[nn.Module, InputSpec | None]:
    """Return the teacher's module and the images it expects; see ``FrozenTeacher``.

    Raises:
        TeacherError: The arguments cannot give a trained teacher.
    """
    if isinstance(model, str):
        return _from_name(
            model,
            inputs=inputs,
            weights=weights,
            allow_random_head=allow_random_head,
            dtype=dtype,
            **options,
        )
    if not isinstance(model, nn.Module):
        raise TeacherError(
            f"FrozenTeacher: expected a module or a model's name, found {type(model).__name__}; "
            "wrap a function from inputs to logits in CallableTeacher"
        )
    if hasattr(model, "provide") and hasattr(model, "named_tensors"):
        raise TeacherError("FrozenTeacher: expected a module, found a teacher; use it as it is")
    if dtype is not None:
        raise TeacherError(
            "FrozenTeacher: dtype= would cast your own module in place; "
            "pass copy.deepcopy(model).to(dtype)"
        )
    given = {name: value for name, value in options.items() if value not in (None, False)}
    if given:
        raise TeacherError(
            f"FrozenTeacher: {', '.join(sorted(given))} go with a model's name, found a module; "
            "build the module with them"
        )
    if weights is not None:
        load_weights(model, weights, allow_random_head=allow_random_head)
    return model, inputs


def _from_name(
    name: str,
    *,
    inputs: InputSpec | None,
    weights: str | Path | None,
    allow_random_head: bool,
    dtype: torch.dtype | None,
    num_classes: int | None,
    in_channels: int | None,
    pretrained: bool,
    **options: Any,
) -> tuple[nn.Module, InputSpec]:
    if num_classes is None:
        raise TeacherError(
            f"FrozenTeacher: {name!r} needs the number of classes its weights were trained for; "
            "pass num_classes=..."
        )
    if weights is None and not pretrained:
        raise TeacherError(
            f"FrozenTeacher: {name!r} would be a teacher with random weights; "
            "pass weights=PATH, or pretrained=True for published ones"
        )
    channels = in_channels or (inputs.channels if inputs is not None else None) or 3
    module = create(
        name,
        num_classes=num_classes,
        in_channels=channels,
        weights=weights,
        allow_random_head=allow_random_head,
        pretrained=pretrained,
        **options,
    )
    # The statistics that timm states belong to published weights; a local file has its own.
    wanted = inputs or (input_spec_of(module) if pretrained else None) or InputSpec()
    if wanted.channels is None:
        wanted = replace(wanted, channels=channels)
    return (module if dtype is None else module.to(dtype)), wanted
