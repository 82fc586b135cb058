"""Two random parts of one network, trained as one student (1603.09382, 2212.04884)."""

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.signals import describe


class Submodels(nn.Module):
    """Run one network twice on each training batch, and return the logits of the first pass.

    Stochastic depth (or dropout) draws another part of it in each pass. Both passes are one
    forward over the batch twice. Their logits are to be tapped as ``first`` and ``second``, and
    learn from each other through :class:`~tutelage.teachers.Itself`, or beside another teacher
    through a loss of both. In evaluation there is one pass of the whole network, and both taps
    show it. ``submodels.model`` is the plain network.

    Args:
        model: A network with one head that draws something in training; otherwise both passes
            are equal.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.first, self.second = nn.Identity(), nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return ``[B, C]``, the logits of the first pass.

        Raises:
            InputError: The network has several heads, of which only the first would be trained.
        """
        logits = self.model(torch.cat([inputs, inputs]) if self.training else inputs)
        if not isinstance(logits, Tensor):
            raise InputError(
                f"Submodels: expected a network that returns one tensor of logits, found "
                f"{describe(logits)}; take one with a single head (distilled_vit: distilled=False)"
            )
        a, b = logits.chunk(2) if self.training else (logits, logits)
        self.second(b)
        first: Tensor = self.first(a)
        return first


def submodels(
    *,
    num_classes: int,
    in_channels: int = 1,
    size: tuple[int, int] | None = None,
    of: str,
    **options: Any,
) -> Submodels:
    """Build :class:`Submodels` of a model ``of`` one kind, with its options.

    >>> net = submodels(of="distilled_vit", num_classes=3, distilled=False, drop_path=0.2)
    >>> net(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 3])
    """
    from tutelage.models.create import create  # which knows this function by its name

    return Submodels(
        create(of, num_classes=num_classes, in_channels=in_channels, size=size, **options)
    )
