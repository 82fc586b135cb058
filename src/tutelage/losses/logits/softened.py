"""The softened divergence in pieces that fit a cache, with the gradient that its equation gives."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage.losses.base import widen
from tutelage.losses.reduction import expected, weighted

_PIECE = {"cpu": 2**16}  # elements of a piece: 256 KiB in float32, so that four of them fit a cache
_LARGEST_PIECE = 2**26
_SMALL = 2**13  # elements below which Python costs more than passes over memory
# What the kept gradient is multiplied by. Of many classes most have a q - p that float16 cannot
# hold, though it can hold what a loss scale makes of it.
_SCALE = {torch.float16: 2.0**15}


def softened_divergence(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    temperature: float | Tensor,
    *,
    with_entropy: bool = True,
) -> Float[Tensor, "*B"]:
    r"""Return :math:`T^2 \sum_c p_c (\log p_c - \log q_c)` of each position, in nats.

    Written as torch operations this keeps six tensors of the logits' size. The gradient to the
    student is known, :math:`T (q - p)`, so one is enough: it is computed on the way, piece by
    piece. Compiled, under ``torch.func`` transforms, or with a temperature that learns, the
    operations are left to torch.

    Args:
        student: Logits.
        teacher: Logits of the same shape, a constant.
        temperature: T above 0.
        with_entropy: Whether :math:`\log p_c` counts; without it this is the cross-entropy.
    """
    if _needs_operations(student, temperature):
        log_q = (widen(student) / temperature).log_softmax(-1)
        log_p = (widen(teacher) / temperature).log_softmax(-1)
        # The factor goes to the teacher's side, where it mostly needs no backward.
        weight = log_p.exp() * temperature**2
        return weighted(weight, log_p - log_q if with_entropy else -log_q).sum(-1)
    values: Tensor = _Divergence.apply(student, teacher, temperature, with_entropy)
    return values


def _needs_operations(student: Tensor, temperature: float | Tensor) -> bool:
    return (
        torch.compiler.is_compiling()
        or (isinstance(temperature, Tensor) and temperature.requires_grad)
        or torch._C._are_functorch_transforms_active()
        or student.numel() < _SMALL
    )


class _Divergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, temperature: float | Tensor, with_entropy: bool
    ) -> Tensor:
        classes = student.shape[-1]
        rows, others = student.reshape(-1, classes), teacher.reshape(-1, classes)
        gradient = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        scale = _SCALE.get(rows.dtype, 1.0)
        size = max(1, _PIECE.get(student.device.type, _LARGEST_PIECE) // classes)
        values = []
        for start in range(0, len(rows), size):
            piece = slice(start, start + size)
            log_q = (widen(rows[piece]) / temperature).log_softmax(-1)
            log_p = (widen(others[piece]) / temperature).log_softmax(-1)
            p = log_p.exp()
            values.append(_total(p, log_p if with_entropy else None, log_q))
            if gradient is not None:
                difference = log_q.exp_().sub_(p)
                gradient[piece] = difference if scale == 1 else difference.mul_(scale)
        ctx.save_for_backward(student, teacher, gradient)
        ctx.temperature, ctx.scale = temperature, scale
        total = values[0] if len(values) == 1 else torch.cat(values)
        return (total * temperature**2).view(student.shape[:-1])

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, None, None, None]:
        student, teacher, gradient = ctx.saved_tensors
        if gradient is None:
            return None, None, None, None
        temperature = ctx.temperature
        if torch.is_grad_enabled():  # create_graph=True: someone differentiates this once more
            q = (widen(student) / temperature).softmax(-1)
            p = (widen(teacher) / temperature).softmax(-1)
            inner, factor = q - p, outer * temperature
        else:
            inner, factor = gradient.view(student.shape), outer * temperature / ctx.scale
        return (inner * factor.unsqueeze(-1)).to(student.dtype), None, None, None


def _total(p: Tensor, log_p: Tensor | None, log_q: Tensor) -> Tensor:
    """Return the sum over classes, where a class without weight counts 0 whatever is its value."""
    value = -log_q if log_p is None else log_p - log_q
    if p.device.type == "cpu":
        total = (p * value).sum(-1)
        if not total.isnan().any():  # the CPU may be asked; a mask costs two more passes
            return total
    return expected(p, value)
