"""Borrow a module: frozen and in eval mode while it is held, as it was once given back."""

from torch import nn


class Hold:
    """Freezes a module in place and remembers what it changed.

    Args:
        module: Its parameters stop requiring gradients and all its submodules go to eval mode,
            until :meth:`release`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._modes = [(part, part.training) for part in module.modules()]
        self._requires_grad = [(p, p.requires_grad) for p in module.parameters()]
        module.eval()
        for parameter, _ in self._requires_grad:
            parameter.requires_grad_(False)

    def pin(self) -> None:
        """Put back to eval whatever was switched to training, such as by a parent's ``train()``."""
        for part, _ in self._modes:
            if part.training:
                # Through eval(), as some modules do more there than to set a flag.
                self._module.eval()
                return

    def release(self) -> None:
        """Give ``requires_grad`` of every parameter and the mode of every submodule back."""
        for parameter, requires_grad in self._requires_grad:
            parameter.requires_grad_(requires_grad)
        self._module.train(self._modes[0][1])
        for part, training in self._modes:
            part.training = training
