"""What flows between the rooms: ``Signals`` from a model, ``Step`` from a distiller."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from tutelage.errors import InputError


@dataclass(frozen=True)
class Signals:
    """What one model shows in one forward pass.

    Args:
        logits: The model's output before any softmax, ``[B, C]`` (or ``[B, N, V]``,
            ``[B, C, H, W]``). ``None`` where a source has no logits.
        taps: Inner tensors by the name under which they were asked for.
    """

    logits: Tensor | None
    taps: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """The outcome of one distillation step.

    Args:
        loss: The weighted sum of all terms, a float32 (or float64) scalar with its graph.
        logits: The student's logits of this step, with their graph.
        parts: The value of each term by its name: detached and *not* multiplied by its weight.
            They stay tensors on the device, so that logging one never waits for the device.
    """

    loss: Tensor
    logits: Tensor
    parts: Mapping[str, Tensor]


def call(model: nn.Module, inputs: Any) -> Any:
    """Return ``model``'s output for a tensor, a tuple of arguments or a dict of keywords."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(inputs)


def logits_of(output: Any, who: str) -> Tensor:
    """Return the logits in a model's output: a tensor, ``output["logits"]`` or ``output.logits``.

    Args:
        output: What the model returned.
        who: ``"student"`` or ``"teacher"``, for the message.

    Raises:
        InputError: If no logits can be found.
    """
    if isinstance(output, Tensor):
        return output
    logits = (
        output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    )
    if isinstance(logits, Tensor):
        return logits
    raise InputError(
        f"{who}: expected the model to return a tensor of logits, or something with `logits`, "
        f"found {type(output).__name__}; wrap the model so that it does"
    )
