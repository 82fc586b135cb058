"""A projector of a known kind whose widths are read off the first tensors."""

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ShapeError
from tutelage.projectors.base import Projector


class Deferred(nn.Module):
    """Become ``kind.between(student, teacher)`` when the two tensors are first seen.

    Until then it has no parameters, so it must be sized before an optimiser is built.

    Args:
        kind: The projector's class.
        options: What the tensors do not tell, such as ``norm=True``.
    """

    projector: nn.Module | None

    def __init__(self, kind: type[Projector], **options: Any) -> None:
        super().__init__()
        self.kind, self.options = kind, options
        self.takes_layers = kind.takes_layers
        self.register_module("projector", None)

    @property
    def is_sized(self) -> bool:
        """Whether the widths are known."""
        return self.projector is not None

    def size_for(self, student: Any, teacher: Any) -> None:
        """Build the projector between the two tensors; twice is harmless."""
        if self.projector is None:
            first = student if isinstance(student, Tensor) else student[0]
            made = self.kind.between(student, teacher, **self.options)
            # Under autocast a tensor's dtype is not that of the weights that made it.
            fits = not torch.is_autocast_enabled(first.device.type) and first.is_floating_point()
            made = made.to(first.device, first.dtype if fits else None)
            self.projector = made.train(self.training)

    def forward(self, student: Any) -> Any:
        """Return what the projector gives."""
        if self.projector is None:
            raise ShapeError(
                f"{self.kind.__name__}: expected to be sized before its first forward; give "
                "Distiller(..., example=inputs), or the projector with its widths"
            )
        return self.projector(student)

    def extra_repr(self) -> str:
        """Show what it is going to be."""
        return "" if self.is_sized else f"{self.kind.__name__}, not sized yet"
