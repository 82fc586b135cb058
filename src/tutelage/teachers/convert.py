"""The student's inputs as a frozen module takes them: its statistics, its size, its dtype."""

from typing import Any

from torch import Tensor, nn

from tutelage.errors import TeacherError
from tutelage.teachers.adapter import InputAdapter

Place = tuple[nn.Module, str]


def converted(inputs: Any, adapter: InputAdapter | None, dtype_source: Place | None) -> Any:
    """Return the inputs through the adapter, floating-point ones in the dtype of a parameter.

    Args:
        inputs: A tensor, a tuple of arguments or a mapping of keywords.
        adapter: Converts images; ``None`` where nothing is to be converted.
        dtype_source: Where that parameter stands; see :func:`first_parameter`.

    Raises:
        TeacherError: There is an adapter, and the inputs are not one tensor.
    """
    if not isinstance(inputs, Tensor):
        if adapter is None:
            return inputs
        raise TeacherError(
            f"teacher: it converts images, a tensor, and found {type(inputs).__name__}; pass "
            "the images alone, or convert them in the loader and leave inputs= and given= out"
        )
    if adapter is not None:
        inputs = adapter(inputs)
    if dtype_source is not None and inputs.is_floating_point():
        part, name = dtype_source
        dtype = getattr(part, name).dtype
        return inputs if inputs.dtype == dtype else inputs.to(dtype)
    return inputs


def first_parameter(model: nn.Module) -> Place | None:
    """Return where the first floating-point parameter stands: moving a module may replace it."""
    for part in model.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.is_floating_point():
                return part, name
    return None
