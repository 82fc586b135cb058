"""What stops a training: numbers that are not finite, and parts that would never train."""

import torch
from torch import Tensor

from tutelage.data import Batch
from tutelage.distiller import Distiller
from tutelage.errors import NumericalError, RecipeError
from tutelage.signals import SparseLogits, Step

_UNCHANGED = (
    "this step changed no weight, but running statistics, as of a batch norm, may have moved"
)


def explain_not_finite(
    distiller: Distiller, batch: Batch, step: Step, number: int
) -> NumericalError:
    """Return the error for an update that must not happen, having looked for who is to blame.

    Called only once something is known to be wrong, so it may wait for the device and run the
    teacher again.

    Args:
        distiller: With the gradients of this step, if the backward pass has run.
        batch: What it was fed.
        step: What came out.
        number: The optimiser step, from 1.
    """
    parts = [name for name, value in step.parts.items() if not torch.isfinite(value)]
    found = f"loss {step.loss.item():.4g}" + (f" from {', '.join(parts)}" if parts else "")
    return NumericalError(
        f"optimiser step {number}: expected finite numbers, found {found}; "
        f"{_culprit(distiller, batch, step)}; {_UNCHANGED}"
    )


def elsewhere(number: int) -> NumericalError:
    """Return the error of a process whose own numbers are finite while another's are not."""
    return NumericalError(
        f"optimiser step {number}: another process found numbers that are not finite; "
        f"see its message; {_UNCHANGED}"
    )


def check_everything_trains(distiller: Distiller, *, with_student: bool) -> None:
    """Raise if a trainable parameter got no gradient in the first backward pass.

    Args:
        distiller: After the backward pass, before the gradients are cleared.
        with_student: Whether the student's own parameters are asked for too. One process may
            leave some of them unused; DDP cannot, and would average nothing from then on.

    Raises:
        RecipeError: Naming the parameters.
    """
    idle = [
        name
        for name, parameter in distiller.named_parameters()
        if parameter.requires_grad
        and parameter.grad is None
        and (with_student or not name.startswith("student."))
    ]
    if idle:
        more = f" and {len(idle) - 5} more" if len(idle) > 5 else ""
        raise RecipeError(
            f"training: expected a gradient for every trainable parameter after the first step, "
            f"found none for {', '.join(idle[:5])}{more}; let a term reach them, "
            "or freeze them with requires_grad_(False)"
        )


def _culprit(distiller: Distiller, batch: Batch, step: Step) -> str:
    """Return who made the numbers, in the order in which they flow, and what to do next."""
    if samples := _bad_rows(batch.inputs, batch.ids):
        return f"the inputs already are not, in samples {samples}: check these images"
    if distiller.separate_teacher is not None:
        with torch.no_grad():
            answer = distiller.separate_teacher(batch.inputs, batch.ids)
        for name, tensor in {"logits": answer.logits, **answer.taps}.items():
            if isinstance(tensor, SparseLogits):
                tensor = tensor.log_probs
            if tensor is not None and (samples := _bad_rows(tensor, batch.ids)):
                return (
                    f"the teacher's {name} are not, for samples {samples}: "
                    "check its weights and the normalisation it was trained with"
                )
    if samples := _bad_rows(step.logits, batch.ids):
        return (
            f"the student's logits are not, for samples {samples}: "
            "lower lr, set clip_norm, or use precision: fp32"
        )
    ids = shown(batch.ids)
    if not torch.isfinite(step.loss):
        return f"the logits are finite, so it is the loss itself that overflows, on samples {ids}"
    bad = [
        name
        for name, parameter in distiller.named_parameters()
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all()
    ]
    return (
        f"the loss is finite and the gradient is not, first of {bad[0] if bad else 'none'}, "
        f"on samples {ids}: lower lr or use precision: fp32"
    )


def _bad_rows(values: Tensor, ids: Tensor) -> str:
    """Return the ids of the rows with NaN or +inf; -inf is how a class is masked out."""
    if not values.is_floating_point() or values.ndim == 0 or len(values) != len(ids):
        return ""
    flat = values.detach().reshape(len(values), -1)
    return shown(ids[(flat.isnan() | flat.isposinf()).any(dim=1)])


def shown(ids: Tensor) -> str:
    """Return sample ids as messages list them: eight at most."""
    listed = ", ".join(str(number) for number in ids[:8].tolist())
    return listed + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
