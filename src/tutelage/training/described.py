"""A random augmentation in words that are the same in every process: its type and parameters."""

import re
from functools import partial
from types import FunctionType

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEEPEST = 6


def without_addresses(text: str) -> str:
    """Return what ``repr`` gave in one line, without places in memory.

    >>> without_addresses("<function double at 0x7f00>")
    '<function double>'
    """
    return " ".join(_ADDRESS.sub("", text).split())


def described(transform: object, depth: int = 0) -> str:
    """Return the type of a transform with its parameters.

    What shows them in its ``repr`` says them in its own words; of anything else the attributes
    are listed. A function is known by its name only: canaries tell whether it still does the same.

    >>> described(partial(round, ndigits=2))
    'partial(round, ndigits=2)'
    """
    if isinstance(transform, FunctionType):
        return f"{transform.__module__}.{transform.__qualname__}"
    if isinstance(transform, partial):
        words = [described(part, depth + 1) for part in (transform.func, *transform.args)]
        words += [f"{key}={described(v, depth + 1)}" for key, v in transform.keywords.items()]
        return f"partial({', '.join(words)})"
    if isinstance(transform, type) or hasattr(transform, "__qualname__"):
        return str(getattr(transform, "__qualname__", transform))
    if isinstance(transform, list | tuple):
        return f"[{', '.join(described(part, depth + 1) for part in transform)}]"
    kind = type(transform)
    if kind.__repr__ is not object.__repr__ or depth > _DEEPEST:
        return without_addresses(repr(transform))
    held = sorted(getattr(transform, "__dict__", {}).items())
    words = [f"{name}={described(value, depth + 1)}" for name, value in held]
    return f"{kind.__module__}.{kind.__qualname__}({', '.join(words)})"
