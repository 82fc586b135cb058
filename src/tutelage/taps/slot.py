"""The hooks behind taps: small objects that copy, pickle and compile with the model they sit on."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

# What is known about the layers that consume a tapped tensor: whether they write into it.
Trust = Literal["unknown", "safe", "modified"]


class Enough(BaseException):  # past any ``except Exception`` in a model
    """Ends a forward of which nothing more is wanted."""


class Slot:
    """A forward hook (or pre-hook) that keeps the latest tensor of one layer.

    A consumer may overwrite the tensor in place (``relu_``, ``+=``), so a clone is kept until one
    eager forward has shown that the tensor's version counter stands still; from then on the tensor
    itself is kept, and the counter still watched. Both modes of the layer are judged apart, because
    in-place dropout writes in training only. A compiled graph always clones: its compiler fuses
    or drops the copy, and the graph does not depend on what eager runs have shown.

    Copies and pickles leave the tensors behind: a copied model keeps its own.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.trust: dict[bool, Trust] = {True: "unknown", False: "unknown"}
        # While a forward is to end with the last tap: the slots that must have fired before.
        self.crowd: Sequence[Slot] = ()
        self.clear()

    def clear(self) -> None:
        """Forget the tensors."""
        self.fired = False
        self.again = False
        self.value: Any = None
        self._watched: tuple[Tensor, int, bool] | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any = None) -> None:
        """Keep ``output``: the signature of a forward hook."""
        if is_recomputing():
            return
        self.again = self.fired
        self.fired = True
        if not isinstance(output, Tensor):
            self.value = output
        elif torch.compiler.is_compiling():
            self.value = output.clone()
        else:
            self._keep(output, module.training)
        if self.crowd and all(slot.fired for slot in self.crowd):
            raise Enough

    def was_modified(self) -> bool:
        """Learn from the kept tensor whether consumers write in place; True if it is corrupted."""
        if self._watched is None:
            return False
        tensor, version, training = self._watched
        is_corrupted = False
        if tensor._version != version:
            is_corrupted = self.trust[training] == "safe"
            self.trust[training] = "modified"
        elif self.trust[training] == "unknown":
            self.trust[training] = "safe"
        return is_corrupted

    def _keep(self, tensor: Tensor, training: bool) -> None:
        trust = self.trust[training]
        self.value = tensor if trust == "safe" else tensor.clone()
        # Inference tensors count no versions: they stay unknown and are cloned each time.
        is_watched = trust != "modified" and not tensor.is_inference()
        self._watched = (tensor, tensor._version, training) if is_watched else None

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "trust": dict(self.trust)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.name, self.trust, self.crowd = state["name"], state["trust"], ()
        self.clear()


class InputSlot(Slot):
    """A forward pre-hook that keeps the first positional tensor which a layer receives."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any = None) -> None:
        """Keep the first tensor in ``args``: the signature of a forward pre-hook."""
        for argument in args:
            if isinstance(argument, Tensor):
                super().__call__(module, args, argument)
                return
        super().__call__(module, args, args)


class Reset:
    """A pre-hook on the whole model that empties the slots when a new forward begins."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self.slots = tuple(slots)

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Empty the slots: the latest forward wins, and forwards nobody reads hold no memory."""
        if not is_recomputing():
            for slot in self.slots:
                slot.clear()


def is_recomputing() -> bool:
    """Return whether a backward runs: activation checkpointing then repeats forwards."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1
