"""Normalisers: the teacher's tensor on a scale of its own, before the student meets it."""

from tutelage.normalizers.base import Normalizer
from tutelage.normalizers.batch_norm import BatchNormalizer
from tutelage.normalizers.layer_norm import LayerNormalizer
from tutelage.normalizers.phi_s import PHISNormalizer

__all__ = ["BatchNormalizer", "LayerNormalizer", "Normalizer", "PHISNormalizer", "index"]


def index() -> dict[str, type[Normalizer]]:
    """Return the normalisers by the name they have in recipes.

    >>> index()["layer_norm"]
    <class 'tutelage.normalizers.layer_norm.LayerNormalizer'>
    """
    classes: tuple[type[Normalizer], ...] = (BatchNormalizer, LayerNormalizer, PHISNormalizer)
    return {normalizer.name: normalizer for normalizer in classes}
