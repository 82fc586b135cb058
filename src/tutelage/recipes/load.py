"""A recipe from a YAML file, a shipped name or a Python function, with all its faults at once."""

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tutelage.errors import RecipeError, did_you_mean
from tutelage.recipes import options, overrides
from tutelage.recipes.functions import function_at, is_function
from tutelage.recipes.schema import Recipe
from tutelage.recipes.source import Fault, Source, read_yaml, shown

_SUFFIXES = (".yaml", ".yml")
# The names of union members, which pydantic writes into the path of an error.
_MEMBERS = {"number", "schedule", "count", "list"}


def shipped() -> dict[str, str]:
    """Return the text of the recipes that come with the package, by name."""
    folder = resources.files("tutelage.recipes")
    return {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".yaml")
    }


def describe(text: str) -> str:
    """Return the one-sentence description in a recipe's text."""
    return str(read_yaml(text, "recipe").tree.get("description", ""))


def load(origin: str | Path, changes: Iterable[str] = ()) -> Recipe:
    """Return the recipe at ``origin``, with ``key.sub=value`` changes on top.

    Args:
        origin: ``path.yaml``; the name of a shipped recipe; or ``path.py:function``, a Python
            function without arguments that returns a recipe (or a dictionary). That file is run.
        changes: Overrides such as ``training.lr=0.01`` or ``terms.0.temperature=2``.

    Raises:
        RecipeError: With one line per fault: ``file:line: path = value: message``.

    >>> load("digits", ["training.steps=5"]).training.steps
    5
    """
    return validate(read(origin, changes))


def read(origin: str | Path, changes: Iterable[str] = ()) -> Source:
    """Return what is written at ``origin``, with the changes on top, not validated yet."""
    source = _read(str(origin))
    overrides.apply(source, changes)
    return source


def made_by(origin: str) -> Any:
    """Return what the function ``path.py:function`` returns; the file is run.

    Raises:
        RecipeError: If it cannot be run, or stops.
    """
    function = function_at(origin)
    try:
        return function()
    except ValidationError as error:
        source = Source({}, origin)
        raise source.error([_as_fault(detail, {}) for detail in error.errors()]) from None
    except Exception as error:
        raise RecipeError(
            f"recipe {origin}: it stopped with {type(error).__name__}: {error}; repair it"
        ) from error


def source_of(made: Any, origin: str, changes: Iterable[str] = ()) -> Source:
    """Return the recipe that a function at ``origin`` has made, with the changes on top.

    Raises:
        RecipeError: If it is none.
    """
    if isinstance(made, Recipe):
        made = made.as_tree()
    if not isinstance(made, Mapping):
        raise RecipeError(
            f"recipe {origin}: expected a function that returns a Recipe (or to check, a Wiring), "
            f"found {type(made).__name__}"
        )
    source = Source(dict(made), origin)
    overrides.apply(source, changes)
    return source


def from_text(text: str, name: str = "recipe", changes: Iterable[str] = ()) -> Recipe:
    """Return the recipe in a YAML text; ``name`` stands for the file in messages."""
    source = read_yaml(text, name)
    overrides.apply(source, changes)
    return validate(source)


def validate(source: Source) -> Recipe:
    """Return the recipe in ``source``, or raise one error that lists all that is wrong."""
    recipe, faults = examine(source)
    if recipe is None or faults:
        raise source.error(faults)
    return recipe


def examine(source: Source) -> tuple[Recipe | None, list[Fault]]:
    """Return the recipe in ``source``, if it is one, and all that is wrong."""
    faults = list(source.faults)
    try:
        return Recipe.model_validate(source.tree), faults
    except ValidationError as error:
        # A value that could not be read is not the wrong value as well.
        unread = {fault.path for fault in faults}
        found = [_as_fault(detail, source.tree) for detail in error.errors()]
        return None, [*faults, *(fault for fault in found if fault.path not in unread)]


def _read(origin: str) -> Source:
    if is_function(origin):
        return source_of(made_by(origin), origin)
    path = Path(origin)
    if path.suffix in _SUFFIXES or path.is_file():
        return read_yaml(_text_of(path), origin)
    texts = shipped()
    if origin in texts:
        return read_yaml(texts[origin], f"{origin}.yaml")
    hint = did_you_mean(origin, texts)
    raise RecipeError(
        f"recipe {origin}: expected path.yaml, path.py:function or a shipped recipe ({hint})"
    )


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        hint = did_you_mean(path.stem, shipped())
        message = f"recipe {path}: no such file; check the path, or name a shipped recipe ({hint})"
    except UnicodeDecodeError:
        message = f"recipe {path}: expected text in UTF-8; save the file so"
    except OSError as error:
        message = f"recipe {path}: cannot be read: {error.strerror}"
    raise RecipeError(message)


def _as_fault(detail: Any, tree: object) -> Fault:
    """Return the fault for one error of pydantic, at the path as it is written in the recipe."""
    path = _written(detail["loc"], tree)
    if detail["type"] == "missing":
        return Fault(path, "this key is required")
    if detail["type"] == "extra_forbidden":
        section = _section_at(path[:-1])
        hint = did_you_mean(str(path[-1]), section.model_fields if section else ())
        return Fault(path, f"unknown key ({hint})", shown(detail["input"]))
    return Fault(path, options.expected(detail["msg"]), shown(detail["input"]))


def _written(location: tuple[str | int, ...], tree: object) -> tuple[str | int, ...]:
    """Drop the names of union members, which pydantic adds to the path."""
    path: tuple[str | int, ...] = ()
    node: Any = tree
    for position, part in enumerate(location):
        is_last = position == len(location) - 1
        if isinstance(node, Mapping) and (part in node or (is_last and part not in _MEMBERS)):
            node = node.get(part)
        elif isinstance(node, list | tuple) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            continue
        path = (*path, part)
    return path


def _section_at(path: tuple[str | int, ...]) -> type[BaseModel] | None:
    here: type[BaseModel] = Recipe
    for part in path:
        if isinstance(part, int):
            continue
        field = here.model_fields.get(part)
        inner = _section_in(field.annotation) if field else None
        if inner is None:
            return None
        here = inner
    return here


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
