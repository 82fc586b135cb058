"""What the terms of a training cannot reach, and how it is kept from moving."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import Batch
from tutelage.distiller import Distiller
from tutelage.training.modes import eval_mode

_ENOUGH = 4  # samples that show what a gradient reaches


@dataclass(frozen=True)
class Unreached:
    """Parts of a student to which no gradient of the objective flows.

    Args:
        parameters: Those that would train, by name.
        modules: Parts with statistics or other buffers of their own, whose output counts nowhere.
    """

    parameters: dict[str, nn.Parameter] = field(default_factory=dict)
    modules: list[nn.Module] = field(default_factory=list)


def unreached(distiller: Distiller, batch: Batch) -> Unreached:
    """Return what no term reaches, asked of one backward pass in eval mode; nothing is changed.

    Args:
        distiller: With sized projectors.
        batch: On its device; a few samples of it are looked at.
    """
    few = batch.with_parts(*(tensor[:_ENOUGH] for tensor in batch))
    wanted = {
        name: parameter
        for name, parameter in distiller.student.named_parameters()
        if parameter.requires_grad
    }
    outputs: list[tuple[nn.Module, Tensor]] = []
    handles = [
        part.register_forward_hook(_noting(outputs))
        for part in distiller.student.modules()
        if any(True for _ in part.buffers(recurse=False))
    ]
    try:
        with eval_mode(distiller), torch.enable_grad():
            loss = distiller(few.inputs, few.target, few.ids).loss
    finally:
        for handle in handles:
            handle.remove()
    if not loss.requires_grad:
        return Unreached()
    asked = [*wanted.values(), *(output for _, output in outputs)]
    found = torch.autograd.grad(loss, asked, allow_unused=True) if asked else ()
    return Unreached(
        {name: p for (name, p), g in zip(wanted.items(), found, strict=False) if g is None},
        [part for (part, _), g in zip(outputs, found[len(wanted) :], strict=True) if g is None],
    )


@contextmanager
def only_reached(distiller: Distiller, batch: Batch) -> Iterator[None]:
    """Keep what no term reaches as it is, for a while.

    A gradient of zero is not no gradient: weight decay would shrink these weights and momentum
    carry them on, and their batch norms would gather statistics of a net that is yet to change.

    Args:
        distiller: In training mode, with sized projectors.
        batch: See :func:`unreached`.
    """
    resting = unreached(distiller, batch)
    ties = distiller.ties_logits
    for parameter in resting.parameters.values():
        parameter.requires_grad_(False)
    modes = {part: part.training for part in resting.modules}
    for part in resting.modules:
        part.training = False
    distiller.ties_logits = False  # all that could need it rests
    try:
        yield
    finally:
        distiller.ties_logits = ties
        for part, mode in modes.items():
            part.training = mode
        for parameter in resting.parameters.values():
            parameter.requires_grad_(True)


def _noting(outputs: list[tuple[nn.Module, Tensor]]) -> Any:
    def note(part: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            outputs.append((part, output))

    return note
