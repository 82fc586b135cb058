"""``key.sub=value`` on the command line: a change to one value of a recipe."""

import re
from collections.abc import Iterable
from typing import Any

from tutelage.errors import RecipeError
from tutelage.recipes.source import Fault, Path, Source, leaves, read_yaml, shown

PLACE = "command line"
_POSITION = re.compile(r"[0-9]{1,9}")


def apply(source: Source, overrides: Iterable[str]) -> None:
    """Write each ``key.sub=value`` into the tree of ``source``; faults are added to its list.

    The value is read as YAML: ``training.lr=0.01``, ``student.widths=[32]``, ``teacher=null``.
    Positions in a list are numbers: ``terms.0.temperature=2``; the position after the last appends.

    >>> source = read_yaml("terms: [{loss: kd}]", "r.yaml")
    >>> apply(source, ["terms.0.temperature=2"])
    >>> source.tree, source.place(("terms", 0, "temperature"))
    ({'terms': [{'loss': 'kd', 'temperature': 2}]}, 'command line')
    """
    for text in overrides:
        key, equals, value_text = text.partition("=")
        path = _path(key)
        if equals and path and not value_text.strip():
            message = "expected a value behind the =, found none; write null for nothing"
            source.faults.append(Fault(path, message, place=PLACE))
            continue
        if not equals or not path:
            message = f"expected key.sub=value, found {text!r}"
            source.faults.append(Fault((), message, place=PLACE))
            continue
        try:
            value = _value(value_text)
        except RecipeError as error:
            source.faults.append(Fault(path, str(error), shown(value_text), PLACE))
            continue
        _write(source, path, value)


def _path(key: str) -> Path:
    parts = [part.strip() for part in key.strip().split(".")]
    return (
        tuple(int(part) if _POSITION.fullmatch(part) else part for part in parts)
        if all(parts)
        else ()
    )


def _value(text: str) -> Any:
    wrapped = read_yaml(f"value: {text}\n", "value")
    if wrapped.faults:
        raise RecipeError(wrapped.faults[0].message)
    if set(wrapped.tree) != {"value"}:
        raise RecipeError("expected one value")
    return wrapped.tree["value"]


def _write(source: Source, path: Path, value: Any) -> None:
    node: Any = source.tree
    walked: Path = ()
    for depth, part in enumerate(path):
        key: Any = part if isinstance(node, list) else str(part)
        walked = (*walked, key)
        if isinstance(node, list) and not _make_room(node, key):
            message = f"expected a position from 0 to {len(node)} in this list"
            source.faults.append(Fault(walked, message, shown(value), PLACE))
            return
        if depth == len(path) - 1:
            node[key] = value
            break
        child = node[key] if isinstance(node, list) else node.get(key)
        if child is None:
            child = node[key] = {}
            source.places[walked] = PLACE
        if not isinstance(child, dict | list):
            message = "expected a section, found one value; change that value itself"
            source.faults.append(Fault(walked, message, shown(child), PLACE))
            return
        node = child
    for old in [old for old in source.places if old[: len(walked)] == walked]:
        del source.places[old]
    source.places.update(dict.fromkeys([walked, *leaves(value, walked)], PLACE))


def _make_room(items: list[Any], position: str | int) -> bool:
    """Append an empty item if ``position`` is just behind the last; say whether it exists now."""
    if position == len(items):
        items.append(None)
    return isinstance(position, int) and position < len(items)
