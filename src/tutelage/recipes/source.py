"""YAML text -> plain values, each with the line it came from; nothing in the text is executed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tutelage.errors import RecipeError

Path = tuple[str | int, ...]

_PLAIN = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null")}
_MAP, _SEQ = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
# A recipe has about a hundred nodes. Aliases of aliases could blow a short text up to billions.
_MOST_NODES = 20_000


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a recipe.

    Args:
        path: Where in the recipe: keys and list positions.
        message: What is wrong and what to do.
        value: The value found there, as text; empty where there is none to show.
        place: Where it was written, if the source cannot tell that from the path.
    """

    path: Path
    message: str
    value: str = ""
    place: str = ""

    def render(self, place: str) -> str:
        """Return the line that a user reads: ``file:line: path = value: message``."""
        place = self.place or place
        dotted = ".".join(str(part) for part in self.path)
        shown = f"{dotted} = {self.value}" if self.value and dotted else dotted or self.value
        return ": ".join(part for part in (place, shown, self.message) if part)


@dataclass
class Source:
    """The plain values of a recipe and where each was written.

    Args:
        tree: The recipe as plain dictionaries, lists and scalars.
        name: The file, or what else the recipe came from.
        places: ``file:line`` (or ``command line``) by path; see :meth:`place`.
        faults: What was wrong with the text itself.
    """

    tree: dict[str, Any]
    name: str
    places: dict[Path, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def place(self, path: Path) -> str:
        """Return where ``path`` was written; for a missing key, where its parent was."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.name

    def error(self, faults: list[Fault]) -> RecipeError:
        """Return one error that lists all ``faults`` in the order of the file."""
        lines = [fault.render(self.place(fault.path)) for fault in faults]
        unique = sorted(dict.fromkeys(lines), key=_by_line)
        return RecipeError("\n".join(unique))


def read_yaml(text: str, name: str) -> Source:
    r"""Read YAML into plain values.

    Only mappings with text keys, lists, strings, numbers, booleans and null are accepted. Tags
    (``!!python/...``), merge keys, duplicate keys and recursive aliases become faults.

    Raises:
        RecipeError: If the text is not YAML, or is not one mapping.

    >>> source = read_yaml("student:\n  model: mlp\n", "r.yaml")
    >>> source.tree, source.place(("student", "model"))
    ({'student': {'model': 'mlp'}}, 'r.yaml:2')
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if isinstance(error, yaml.reader.ReaderError):
            line = f":{text.count(chr(10), 0, error.position) + 1}"
        else:
            line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{name}{line}: not readable as YAML: {_problem(error)}") from None
    except RecursionError:
        raise RecipeError(f"{name}: nested too deeply to be a recipe") from None
    if not isinstance(node, yaml.MappingNode):
        found = "a list" if isinstance(node, yaml.SequenceNode) else "one value"
        found = found if node else "nothing"
        raise RecipeError(
            f"{name}: expected a mapping with keys such as data, student and terms, found {found}"
        )
    reader = _Reader(loader, name)
    tree = reader.value(node, ())
    return Source(tree, name, reader.places, reader.faults)


class _Reader:
    """Turns YAML nodes into values, noting their lines and what is not allowed."""

    def __init__(self, loader: yaml.SafeLoader, name: str) -> None:
        self.loader, self.name = loader, name
        self.places: dict[Path, str] = {}
        self.faults: list[Fault] = []
        self._open: set[int] = set()
        self._count = 0

    def value(self, node: yaml.Node, path: Path) -> Any:
        self._count += 1
        if self._count > _MOST_NODES:
            raise RecipeError(f"{self.name}: more than {_MOST_NODES} values; this is no recipe")
        self.places.setdefault(path, f"{self.name}:{node.start_mark.line + 1}")
        if id(node) in self._open:
            self.faults.append(Fault(path, "an alias that contains itself; write the values out"))
            return None
        self._open.add(id(node))
        try:
            return self._content(node, path)
        finally:
            self._open.discard(id(node))

    def _content(self, node: yaml.Node, path: Path) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            if node.tag in _PLAIN:
                return self._scalar(node, path)
            if node.tag == "tag:yaml.org,2002:timestamp":  # 2024-01-01 is text to a recipe
                return node.value
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        self.faults.append(
            Fault(path, f"the tag {tag} is not allowed and was not executed; write plain values")
        )
        return None

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        try:
            return self.loader.construct_object(node)
        except (ValueError, yaml.YAMLError) as error:
            self.faults.append(Fault(path, f"not readable: {error}", repr(node.value)))
            return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            here = (*path, key)
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag not in _PLAIN:
                message = "expected a plain text key; merge keys and tags are not allowed"
                self.faults.append(Fault(here, message, place=f"{self.name}:{line}"))
                continue
            if key in result:
                message = f"duplicate key, first written on line {first[key]}; keep one"
                self.faults.append(Fault(here, message, place=f"{self.name}:{line}"))
                continue
            first[key] = line
            self.places[here] = f"{self.name}:{line}"
            result[key] = self.value(value_node, here)
        return result


def _problem(error: yaml.YAMLError) -> str:
    """Return what is wrong in the words of the parser, on one line."""
    if isinstance(error, yaml.reader.ReaderError):
        return f"the character {chr(error.character)!r} is not allowed; write it as an escape"
    words = [getattr(error, "context", None), getattr(error, "problem", None)]
    return ", ".join(word for word in words if word) or type(error).__name__


def _by_line(message: str) -> tuple[str, int]:
    """Sort key: the file, then its line as a number."""
    file, _, rest = message.partition(":")
    digits = rest.partition(":")[0]
    return file, int(digits) if digits.isdigit() else 0


@dataclass(frozen=True)
class Shown:
    """A value that is already text as messages print it."""

    text: str


def shown(value: object) -> str:
    """Return a value as messages print it: short, on one line; nothing for a section."""
    if isinstance(value, Mapping):
        return ""
    text = value.text if isinstance(value, Shown) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def leaves(tree: object, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every key and list item in ``tree``."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield (*path, key)
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield (*path, index)
            yield from leaves(value, (*path, index))
