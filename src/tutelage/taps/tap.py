"""Read the inner tensors of a model by name."""

from collections.abc import Callable, Collection, Sequence
from types import TracebackType

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tutelage.errors import TapError
from tutelage.signals import describe, pooled
from tutelage.taps.find import suggest
from tutelage.taps.slot import Enough, InputSlot, Reset, Slot

INPUT, POOLED = ":in", ":pooled"


class Taps:
    """Hooks on named layers of a model, and what they saw in its latest forward.

    ``"layer3"`` reads a layer's output, ``"fc:in"`` its first positional tensor input, and
    ``"layer3:pooled"`` one vector per sample: the mean of ``[B, C, H, W]`` over the pixels, or of
    ``[B, N, D]`` over the tokens. The model's own output is not a tap: its caller has it. Register
    before ``torch.compile``, DDP or FSDP: hooks added later never fire in a compiled model.

    The store is emptied by every :meth:`read` and when a new forward of ``model`` begins. Tensors
    are as the layer gave them, also when a later layer overwrites them in place. Forwards
    that activation checkpointing repeats during backward are not seen (under ``torch.compile`` a
    tap inside such a region breaks the graph, and ``fullgraph=True`` refuses it). A deep copy that
    holds both the model and its taps is independent, and so is a copy of the model alone.
    :meth:`close` removes the hooks; nothing else of the model is changed.

    Args:
        model: The model whose ``forward`` will run.
        names: Layers to read, in the order in which :meth:`read` gives them. Repeats collapse.

    Raises:
        TapError: If a layer does not exist, or ``model`` is already compiled.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> with Taps(model, ["0", "2:in"]) as taps:
    ...     _ = model(torch.zeros(5, 2))
    ...     {name: tuple(tensor.shape) for name, tensor in taps.read().items()}
    {'0': (5, 3), '2:in': (5, 3)}
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        if isinstance(names, str):
            raise TapError(f"Taps: expected a list of layers, found {names!r}; pass [{names!r}]")
        if hasattr(model, "_orig_mod"):
            raise TapError(
                "Taps: expected a plain model, found a compiled one, in which new hooks may never "
                "fire; make the taps first and compile afterwards"
            )
        self._model = model
        self._slots: list[Slot] = []
        layers = {name: _find(model, name) for name in names}  # all names, before any hook
        self._handles: list[RemovableHandle] = []
        for name, (module, reads_input) in layers.items():
            slot = InputSlot(name) if reads_input else Slot(name)
            register = (
                module.register_forward_pre_hook if reads_input else module.register_forward_hook
            )
            self._handles.append(register(slot))
            self._slots.append(slot)
        self._handles.append(model.register_forward_pre_hook(Reset(self._slots), prepend=True))
        self._is_closed = False

    @property
    def names(self) -> tuple[str, ...]:
        """The taps in the order in which :meth:`read` gives them."""
        return tuple(slot.name for slot in self._slots)

    def read(self, *, require_grad: bool | Collection[str] = False) -> dict[str, Tensor]:
        """Return the tensors of the latest forward by name, and empty the store.

        Args:
            require_grad: Whether a tensor that no gradient can flow through is an error, or the
                names of those for which it is. It is none while gradients are off, or where
                nothing in the model is trainable.

        Raises:
            TapError: If a layer did not run, ran more than once, or gave no tensor; if its tensor
                was overwritten in place after earlier forwards had not done so; if it carries no
                gradient though one is required; or if the taps are closed.
        """
        if self._is_closed:
            raise TapError("Taps: expected open taps, found them closed; make new ones to read")
        tensors = {}
        try:
            for slot in self._slots:
                tensors[slot.name] = self._take(slot)
        finally:
            for slot in self._slots:
                slot.clear()
        if require_grad and torch.is_grad_enabled():
            for name in tensors if require_grad is True else require_grad:
                if not tensors[name].requires_grad:
                    self._refuse_without_gradient(name)
        return tensors

    def run_until_seen(self, forward: Callable[[], object]) -> None:
        """Run the model, and leave its forward as soon as every tap has been seen.

        The tensors are those of a whole forward. A layer that would run again goes unnoticed, so
        run a whole one first.

        Args:
            forward: Calls the model, in eager mode.
        """
        for slot in self._slots:
            slot.crowd = self._slots
        try:
            forward()
        except Enough:
            pass
        finally:
            for slot in self._slots:
                slot.crowd = ()

    def close(self) -> None:
        """Remove the hooks. Safe to repeat."""
        for handle in self._handles:
            handle.remove()
        for slot in self._slots:
            slot.clear()
        self._handles.clear()
        self._is_closed = True

    def __enter__(self) -> "Taps":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Taps({list(self.names)}{', closed' if self._is_closed else ''})"

    def _take(self, slot: Slot) -> Tensor:
        if not slot.fired:
            raise TapError(
                f"tap '{slot.name}': expected the layer to run once, found that it did not run "
                "since the last read; run the model before each read, make the taps before "
                "torch.compile, and name a layer that is called as a module in this mode"
            )
        if slot.again:
            raise TapError(
                f"tap '{slot.name}': expected the layer to run once, found that it ran more than "
                f"once in one forward, so one name means several tensors; {_around(slot.name)}"
            )
        if not torch.compiler.is_compiling() and slot.was_modified():
            raise TapError(
                f"tap '{slot.name}': expected the tensor as the layer gave it, found it "
                "overwritten in place by a later layer, which earlier forwards did not do; it is "
                "copied from now on: run the step again"
            )
        if not isinstance(slot.value, Tensor):
            raise TapError(self._no_tensor(slot))
        return pooled(slot.value) if slot.name.endswith(POOLED) else slot.value

    def _no_tensor(self, slot: Slot) -> str:
        if isinstance(slot, InputSlot):
            return (
                f"tap '{slot.name}': expected a positional tensor input, found none; tap the "
                "output of the layer before it"
            )
        module, _ = _find(self._model, slot.name)
        inner = [f"'{slot.name}.{name}'" for name, _ in module.named_children()][:8]
        advice = f"tap a layer inside it: {', '.join(inner)}" if inner else "tap another layer"
        return f"tap '{slot.name}': expected a tensor, found {describe(slot.value)}; {advice}"

    def _refuse_without_gradient(self, name: str) -> None:
        if any(parameter.requires_grad for parameter in self._model.parameters()):
            raise TapError(
                f"tap '{name}': expected a tensor that carries a gradient, found none; either all "
                "layers up to it are frozen, or they run under reentrant activation checkpointing: "
                "tap a trainable layer, or checkpoint with use_reentrant=False"
            )


def _find(model: nn.Module, name: str) -> tuple[nn.Module, bool]:
    """Return the module that ``name`` means, and whether its input is meant."""
    modules = dict(model.named_modules(remove_duplicate=False))
    plain = name.removesuffix(POOLED)
    path = plain.removesuffix(INPUT)
    if not path:
        raise TapError(
            f"Taps: expected the name of a layer, found {name!r}, which would be the whole model; "
            "use the model's own output or input"
        )
    for candidate, reads_input in ((plain, False), (path, plain != path)):
        if candidate in modules:
            return modules[candidate], reads_input
    raise TapError(
        f"Taps: expected a layer of {type(model).__name__}, found no '{path}'; "
        f"{suggest(path, model)}"
    )


def _around(name: str) -> str:
    parent = name.removesuffix(POOLED).removesuffix(INPUT).rpartition(".")[0]
    example = f", such as the block around it ('{parent}')" if parent else ""
    return f"tap a layer that runs once{example}"
