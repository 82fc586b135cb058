"""Which fields of two identities differ, side by side."""

from collections.abc import Iterator, Mapping
from typing import Any

from tutelage.errors import DataError

ABSENT = "(absent)"

Difference = tuple[str, Any, Any]


def diff(expected: Any, found: Any) -> list[Difference]:
    """Return ``(field, expected, found)`` for each leaf in which two nested mappings differ.

    Fields of nested mappings are joined by dots; one that a side lacks is ``"(absent)"`` there.

    >>> diff({"teacher": {"sha": "a1"}, "size": 64}, {"teacher": {"sha": "b2"}, "size": 64})
    [('teacher.sha', 'a1', 'b2')]
    """
    return list(_walk("", expected, found))


def refuse(where: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise if a cache was made for something else.

    Args:
        where: The cache, for the message.
        expected: What this run needs.
        found: What the cache says of itself.

    Raises:
        DataError: With a line for each field that differs.
    """
    lines = diff(expected, found)
    if lines:
        raise DataError(
            f"cache {where}: expected what this run needs, found a cache of something else:\n"
            f"{side_by_side(lines)}\n"
            "choose another folder for this run's cache, or undo the change"
        )


def side_by_side(differences: list[Difference]) -> str:
    """Return a table of differences: field, this run, the cache.

    >>> print(side_by_side([("size", 64, 96)]))
      field  this run  cache
      size   64        96
    """
    shown = differences[:20]
    rows = [("field", "this run", "cache"), *((f, _short(a), _short(b)) for f, a, b in shown)]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    lines = [f"  {a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in rows]
    if len(differences) > len(shown):
        lines.append(f"  and {len(differences) - len(shown)} more")
    return "\n".join(lines)


def _walk(field: str, expected: Any, found: Any) -> Iterator[Difference]:
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for name in sorted({*expected, *found}):
            inner = f"{field}.{name}" if field else str(name)
            yield from _walk(inner, expected.get(name, ABSENT), found.get(name, ABSENT))
    elif type(expected) is not type(found) or expected != found:
        yield field, expected, found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 72 else f"{text[:34]}...{text[-34:]}"
