"""What flows between the rooms: ``Signals`` from a model, ``Step`` from a distiller."""

from tutelage.signals.outputs import OUTPUT, call, describe, item_of, logits_of
from tutelage.signals.pooling import pooled
from tutelage.signals.sparse import SparseLogits
from tutelage.signals.step import Signals, Step

__all__ = [
    "OUTPUT",
    "Signals",
    "SparseLogits",
    "Step",
    "call",
    "describe",
    "item_of",
    "logits_of",
    "pooled",
]
