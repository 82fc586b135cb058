"""Several networks trained as one student, to learn from each other (1706.00384)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tutelage.errors import InputError


class Cohort(nn.Module):
    """Run all members on the same input and return the logits of the first.

    For deep mutual learning each member is tapped as ``members.0``, ``members.1`` ... and learns
    from the others through :class:`~tutelage.teachers.Itself`. Only the first is what is evaluated
    and kept: ``cohort.members[0]`` is a plain network.

    Args:
        members: At least two networks for the same classes, which need not be alike.

    Raises:
        InputError: There are fewer than two, or one stands twice.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        if len(members) < 2 or len({id(member) for member in members}) < len(members):
            raise InputError(
                f"Cohort: expected at least two members, each another module, found "
                f"{len(members)} of which {len({id(member) for member in members})} differ"
            )
        self.members = nn.ModuleList(members)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the first member; the others run for whoever taps them."""
        first, *others = (member(inputs) for member in self.members)
        del others
        logits: Tensor = first
        return logits


def cohort(
    *,
    num_classes: int,
    in_channels: int = 1,
    size: tuple[int, int] | None = None,
    of: str,
    count: int = 2,
    **options: Any,
) -> Cohort:
    """Build a :class:`Cohort` of ``count`` models ``of`` one kind, each with its own first weights.

    >>> len(cohort(of="mlp", num_classes=10, size=(8, 8), widths=(32,)).members)
    2
    """
    from tutelage.models.create import create  # which knows this function by its name

    made = [
        create(of, num_classes=num_classes, in_channels=in_channels, size=size, **options)
        for _ in range(count)
    ]
    return Cohort(made)
