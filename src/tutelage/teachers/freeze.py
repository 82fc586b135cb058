"""Borrow a module: frozen and in eval mode while anyone holds it, as it was once given back."""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from torch import nn


@dataclass
class _Original:
    """What one submodule was before its first holder came, and how many hold it now.

    Parameters are known by name: moving or casting a module can replace the objects.
    """

    training: bool
    requires_grad: dict[str, bool]
    holders: int = 0


# Two teachers may be made of one module, or of a module and a part of it, and be closed in any
# order: the second must not take the state that the first left for the original one.
_held: WeakKeyDictionary[nn.Module, _Original] = WeakKeyDictionary()


class Hold:
    """Freezes a module in place; the last hold on it gives back what the first one changed.

    Modules that cannot be switched, such as those of ``torch.export``, keep the mode they have.

    Args:
        module: Its parameters stop requiring gradients and all its submodules go to eval mode,
            until :meth:`release`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._parts = [(part, _held.setdefault(part, _original(part))) for part in module.modules()]
        for _, original in self._parts:
            original.holders += 1
        #: Whether some part kept its own mode, whatever its flag says.
        self.is_fixed = not _switch(module, training=False)
        for parameter in module.parameters():
            parameter.requires_grad_(False)

    def pin(self) -> None:
        """Put back to eval whatever was switched to training, such as by a parent's ``train()``."""
        for part, _ in self._parts:
            if part.training:
                # Through eval(), as some modules do more there than to set a flag.
                _switch(self._module, training=False)
                return

    def release(self) -> None:
        """Give back the modes and ``requires_grad`` of all that nobody else holds."""
        for _, original in self._parts:
            original.holders -= 1
        free = [(part, original) for part, original in self._parts if not original.holders]
        if any(part is self._module for part, _ in free):
            _switch(self._module, training=self._parts[0][1].training)
        for part, original in free:
            _held.pop(part, None)
            part.training = original.training
            for name, requires_grad in original.requires_grad.items():
                parameter = part._parameters.get(name)
                if parameter is not None:
                    parameter.requires_grad_(requires_grad)
        for part, original in self._parts:
            if original.holders and part.training:
                _switch(part, training=False)


def _original(part: nn.Module) -> _Original:
    flags = {name: p.requires_grad for name, p in part._parameters.items() if p is not None}
    return _Original(part.training, flags)


def _switch(module: nn.Module, *, training: bool) -> bool:
    """Set the mode of a module and its parts; False if some part refused."""
    try:
        module.train() if training else module.eval()
    except NotImplementedError:  # exported programs: their mode was fixed when they were made
        module.training = training
        for child in module.children():
            _switch(child, training=training)
        return False
    return True
