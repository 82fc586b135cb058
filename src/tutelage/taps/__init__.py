"""Taps: read the inner tensors of a model by name; list, suggest and match layers."""

from tutelage.taps.find import Layer, list_layers, suggest
from tutelage.taps.match import LayerPair, match_layers
from tutelage.taps.tap import Taps
from tutelage.taps.trace import layer_shapes

__all__ = [
    "Layer",
    "LayerPair",
    "Taps",
    "layer_shapes",
    "list_layers",
    "match_layers",
    "suggest",
]
