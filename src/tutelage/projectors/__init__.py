"""Projectors: from the student's tensor to the teacher's shape."""

from tutelage.projectors.auto import AutoProjector
from tutelage.projectors.base import Projector
from tutelage.projectors.conv import ConvProjector
from tutelage.projectors.deferred import Deferred
from tutelage.projectors.linear import LinearProjector
from tutelage.projectors.tokens import TokensToMap

__all__ = [
    "AutoProjector",
    "ConvProjector",
    "Deferred",
    "LinearProjector",
    "Projector",
    "TokensToMap",
    "index",
]


def index() -> dict[str, type[Projector]]:
    """Return the projectors by the name they have in recipes.

    >>> sorted(index())
    ['auto', 'conv', 'linear', 'tokens_to_map']
    """
    classes: tuple[type[Projector], ...] = (
        AutoProjector,
        ConvProjector,
        LinearProjector,
        TokensToMap,
    )
    return {projector.name: projector for projector in classes}
