"""A loss beside its naive form: on the same inputs, with the same parts, to the same value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from tutelage.losses import Loss, index

Shape = tuple[int, ...]
Run = Callable[[], tuple[Tensor, ...]]  # a value and its gradients


@dataclass(frozen=True)
class Sizes:
    """Shapes of one student's tensor.

    Args:
        full: What the figures are about.
        quick: To see that all runs.
        small: For comparisons of values.
    """

    full: Sequence[Shape]
    quick: Sequence[Shape]
    small: Shape


LOGITS = Sizes([(256, 1000), (512, 32000)], [(32, 100), (16, 1000)], (6, 9))
FEW_CLASSES = Sizes([(256, 1000)], [(32, 100)], (6, 9))  # where something holds C x C numbers
FEATURES = Sizes([(64, 256, 28, 28)], [(4, 16, 7, 7)], (3, 4, 5, 6))
EMBEDDINGS = Sizes([(256, 512)], [(32, 16)], (6, 5))
TRIPLETS = Sizes([(256, 512), (512, 512)], [(32, 16), (64, 16)], (6, 5))
STATES = Sizes([(32, 128, 768)], [(4, 16, 48)], (2, 5, 24))
ATTENTION = Sizes([(16, 12, 128, 128)], [(4, 2, 16, 16)], (2, 3, 5, 5))


@dataclass(frozen=True)
class Naive:
    """How a user would write a loss with torch alone.

    Args:
        form: ``(student, teacher, target) -> scalar``; the target is ``None`` where the loss needs
            none. Where ``shares_parts``, the loss is the fourth argument.
        sizes: Shapes to measure at.
        make: Builds the loss for a shape; default: the class.
        layers: How many tensors a side has, where the loss takes several.
        shares_parts: Whether the form reads the loss's learned or borrowed parts.
    """

    form: Callable[..., Tensor]
    sizes: Sizes
    make: Callable[[Shape], Loss] | None = None
    layers: int = 1
    shares_parts: bool = False


@dataclass(frozen=True)
class Pair:
    """Both ways to compute one loss, each a call that returns the value and all gradients."""

    loss: Loss
    ours: Run
    naive: Run
    input_bytes: int

    @property
    def values(self) -> tuple[float, float]:
        """Return ours and the naive form's."""
        return self.ours()[0].item(), self.naive()[0].item()


def pair(name: str, entry: Naive, shape: Shape, dtype: torch.dtype = torch.float32) -> Pair:
    """Draw inputs and build both forms."""
    torch.manual_seed(0)
    loss = entry.make(shape) if entry.make else index()[name]()
    layers = range(entry.layers)
    students: list[Tensor] = [torch.randn(shape, dtype=dtype).requires_grad_() for _ in layers]
    teachers = [torch.randn(shape, dtype=dtype) for _ in layers]
    student: Any = students if loss.takes_layers else students[0]
    teacher: Any = teachers if loss.takes_layers else teachers[0]
    if not getattr(loss, "is_sized", True):
        loss.size_for(student, teacher)
    assert not any(map(is_lazy, loss.parameters())), f"{name} is not sized"
    loss.to(dtype).eval()  # so that no state moves between the calls
    target = torch.randint(shape[-1], shape[:1]) if loss.needs_target else None
    ids = [torch.arange(shape[0])] if loss.needs_ids else []
    leaves = students + [p for p in loss.parameters() if p.requires_grad]

    def ours() -> tuple[Tensor, ...]:
        value = loss(student, teacher if loss.needs_teacher else None, target, *ids)
        return value.detach(), *torch.autograd.grad(value, leaves)

    def naive() -> tuple[Tensor, ...]:
        parts = [loss] if entry.shares_parts else []
        value = entry.form(student, teacher, target, *parts)
        return value.detach(), *torch.autograd.grad(value, leaves)

    return Pair(loss, ours, naive, sum(s.numel() * s.element_size() for s in students))
