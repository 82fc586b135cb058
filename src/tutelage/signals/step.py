"""What flows between the rooms: ``Signals`` from a model, ``Step`` from a distiller."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from tutelage.signals.sparse import SparseLogits


@dataclass(frozen=True)
class Signals:
    """What one model shows in one forward pass.

    Args:
        logits: The model's output before any softmax, ``[B, C]`` (or ``[B, N, V]``,
            ``[B, C, H, W]``), or its likeliest classes. ``None`` where a source has no logits.
        taps: Inner tensors by the name under which they were asked for.
    """

    logits: Tensor | SparseLogits | None
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
