"""Projectors: from the student's tensor to the teacher's shape."""

from tutelage.projectors.auto import AutoProjector
from tutelage.projectors.base import Projector
from tutelage.projectors.bottleneck import BottleneckProjector
from tutelage.projectors.conv import ConvProjector
from tutelage.projectors.deferred import Deferred
from tutelage.projectors.exit_head import ExitHead
from tutelage.projectors.linear import LinearProjector
from tutelage.projectors.masked_generation import MaskedGeneration
from tutelage.projectors.mlp_conv import MLPConvProjector
from tutelage.projectors.orthogonal import OrthogonalProjector
from tutelage.projectors.review_fusion import ReviewFusion
from tutelage.projectors.token_generation import TokenGeneration
from tutelage.projectors.tokens import TokensToMap
from tutelage.projectors.translator import TranslatorProjector

__all__ = [
    "AutoProjector",
    "BottleneckProjector",
    "ConvProjector",
    "Deferred",
    "ExitHead",
    "LinearProjector",
    "MLPConvProjector",
    "MaskedGeneration",
    "OrthogonalProjector",
    "Projector",
    "ReviewFusion",
    "TokenGeneration",
    "TokensToMap",
    "TranslatorProjector",
    "index",
]


def index() -> dict[str, type[Projector]]:
    """Return the projectors by the name they have in recipes.

    >>> index()["conv"].__name__
    'ConvProjector'
    """
    classes: tuple[type[Projector], ...] = (
        AutoProjector,
        BottleneckProjector,
        ConvProjector,
        ExitHead,
        LinearProjector,
        MLPConvProjector,
        MaskedGeneration,
        OrthogonalProjector,
        ReviewFusion,
        TokenGeneration,
        TokensToMap,
        TranslatorProjector,
    )
    return {projector.name: projector for projector in classes}
