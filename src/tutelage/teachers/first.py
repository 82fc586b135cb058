"""What only a teacher's first batch can show: whether it writes into its inputs, and bad logits."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from tutelage.errors import NumericalError, TeacherError


def copied(inputs: Any) -> Any:
    """Return a copy of the tensors in ``inputs``: a tensor, a tuple, a list or a mapping."""
    if isinstance(inputs, Tensor):
        return inputs.clone()
    if isinstance(inputs, Mapping):
        return {name: copied(value) for name, value in inputs.items()}
    if isinstance(inputs, list | tuple):
        return tuple(copied(value) for value in inputs)
    return inputs


def some_of(inputs: Any, where: Tensor) -> Any:
    """Return the samples ``where``, ``[b]``, of a tensor, a tuple, a list or a mapping."""
    if isinstance(inputs, Tensor):
        return inputs.index_select(0, where)
    if isinstance(inputs, Mapping):
        return {name: some_of(value, where) for name, value in inputs.items()}
    if isinstance(inputs, list | tuple):
        return tuple(some_of(value, where) for value in inputs)
    return inputs


class Versions:
    """Notices whether any of some tensors is written in place. Costs nothing on a device."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._before = [(t, -1 if t.is_inference() else t._version) for t in tensors]

    def have_moved(self) -> bool:
        """Whether one was written; inference tensors count no writes and are taken as written."""
        return any(t.is_inference() or t._version != before for t, before in self._before)


def tensors_in(inputs: Any) -> list[Tensor]:
    """Return the tensors that :func:`copied` would copy."""
    if isinstance(inputs, Tensor):
        return [inputs]
    if isinstance(inputs, Mapping):
        inputs = list(inputs.values())
    if isinstance(inputs, list | tuple):
        return [tensor for value in inputs for tensor in tensors_in(value)]
    return []


def refuse_broken(logits: Tensor) -> None:
    """Raise if logits hold NaN or ``+inf``; ``-inf`` rules a class out. Waits for the device.

    Raises:
        NumericalError: They do.
    """
    if logits.is_meta or not logits.is_floating_point():
        return
    broken = (logits.isnan() | logits.isposinf()).reshape(logits.shape[0], -1).any(1)
    if broken.any():
        rows = broken.nonzero().flatten().tolist()
        more = ", ..." if len(rows) > 5 else ""
        raise NumericalError(
            f"teacher: expected finite logits (or -inf), found NaN or +inf in {len(rows)} of "
            f"{len(broken)} rows of its first batch ({', '.join(map(str, rows[:5]))}{more}); check "
            "its weights, its dtype, and that the inputs are normalised as in its training"
        )


def refuse_moving(model: nn.Module, buffers: Versions) -> None:
    """Raise if a module that cannot be put in eval mode wrote to its buffers.

    Raises:
        TeacherError: It did.
    """
    if buffers.have_moved():
        raise TeacherError(
            f"teacher: expected {type(model).__name__} to leave its buffers alone, found that a "
            "forward changes them and that eval() cannot stop it: it was exported in training "
            "mode; export model.eval() again"
        )
