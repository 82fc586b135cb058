"""Options written in a recipe, checked against the signature of what they are for."""

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, get_type_hints

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from tutelage.errors import did_you_mean
from tutelage.recipes.source import Fault, shown

# Messages of pydantic speak of its own kinds: here in the words of a recipe.
_WORDS = (
    ("^Value error, ", ""),
    (r"^Input should be a valid dictionary or instance of \w+", "expected a section of keys"),
    (r"^Input should be (a valid (tuple|list)|an instance of Sequence)", "expected a list"),
    (r"^Input should be a valid integer(, .*)?", "expected a whole number"),
    (r"^Input should be a valid number(, .*)?", "expected a number"),
    (r"^Input should be a valid string", "expected text"),
    (r"^Input should be a valid boolean(, .*)?", "expected true or false"),
    (r"^Tuple should have at most (\d+) items? .*not (\d+)", r"expected \1 items, found \2"),
    ("^Input should be ", "expected "),
)
REQUIRED = "this option is required"
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """Return the parameters that can be given by name, or ``None`` if it takes any (``**kwargs``).

    >>> def load(root, *, seed=0): ...
    >>> sorted(parameters(load))
    ['root', 'seed']
    """
    found = inspect.signature(function).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in found):
        return None
    return {parameter.name: parameter for parameter in found if parameter.kind in _NAMED}


def check(
    function: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    given: Collection[str] = (),
    also: Collection[str] = (),
) -> tuple[dict[str, Any], list[Fault]]:
    """Check options against a signature and repair their types.

    YAML reads ``1e-2`` as text; a parameter annotated as a number turns it into one.

    Args:
        function: What will be called with the options.
        options: The options as written.
        given: Parameters that the recipe does not set, because the program does.
        also: Keys that are known beside the options, for "did you mean".

    Returns:
        The repaired options, and one fault for each that is unknown, missing or of a wrong type.

    >>> def load(root: str, *, share: float = 0.1): ...
    >>> check(load, {"root": "a", "share": "1e-2"})[0]
    {'root': 'a', 'share': 0.01}
    >>> [fault.message for fault in check(load, {"roots": "a"})[1]]
    ["unknown key (did you mean 'root'?)", 'this option is required']
    """
    known = parameters(function)
    if known is None:
        return dict(options), []
    free = {name: parameter for name, parameter in known.items() if name not in given}
    hints = _hints(function)
    repaired, faults = {}, []
    for name, value in options.items():
        if name not in free:
            hint = did_you_mean(name, [*free, *also])
            faults.append(Fault((name,), f"unknown key ({hint})", shown(value)))
            continue
        try:
            repaired[name] = _repair(value, hints.get(name))
        except ValidationError as error:
            message = expected(error.errors()[0]["msg"])
            faults.append(Fault((name,), message, shown(value)))
    for name, parameter in free.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            faults.append(Fault((name,), REQUIRED))
    return repaired, faults


def expected(message: str) -> str:
    """Return a message of pydantic in the words of ours.

    >>> expected("Input should be 'sgd' or 'adam'")
    "expected 'sgd' or 'adam'"
    """
    for theirs, ours in _WORDS:
        message = re.sub(theirs, ours, message)
    return message


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = function.__init__ if inspect.isclass(function) else function
    try:
        return get_type_hints(target)
    except (NameError, TypeError):  # an annotation that only exists for type checkers
        return {}


def _repair(value: Any, hint: Any) -> Any:
    if hint is None or isinstance(value, Mapping):  # a mapping is a section, checked by itself
        return value
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(
            hint, config=ConfigDict(arbitrary_types_allowed=True)
        )
    except PydanticUserError:  # a type that YAML cannot hold anyway
        return value
    return to_jsonable_python(adapter.validate_python(value), fallback=lambda plain: plain)
