"""Our docstrings (Google sections, reST roles, doctests) as Markdown."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field

_SECTION = re.compile(r"^(Args|Raises|Returns|Class attributes):$", re.MULTILINE)
_MATH = re.compile(r"^\.\. math::(.*(?:\n(?:[ ]+.*|(?=\n[ ]+\S)))*)", re.MULTILINE)
_DOCTEST = re.compile(r"^>>> .*(?:\n(?!\n).*)*", re.MULTILINE)


@dataclass(frozen=True)
class Docstring:
    """A docstring in its parts.

    Args:
        summary: Its first sentence, without "See ...".
        body: The rest outside the sections, as Markdown.
        options: Meaning of each argument, as Markdown.
        raises: When each error is raised.
        sees: Functions that it refers to.
    """

    summary: str
    body: str
    options: dict[str, str] = field(default_factory=dict)
    raises: dict[str, str] = field(default_factory=dict)
    sees: tuple[str, ...] = ()


def parse(thing: Callable[..., object]) -> Docstring:
    """Return the docstring of a class or function in its parts."""
    text = inspect.cleandoc(thing.__doc__ or "")
    sees = re.findall(r":func:`~?([\w.]+)`", text)
    parts = _SECTION.split(text)
    free, sections = [parts[0]], {}
    for title, content in zip(parts[1::2], parts[2::2], strict=True):
        section, rest = _outdented(content)
        sections[title] = section
        free.append(rest)
    summary, _, body = "\n\n".join(free).partition("\n\n")
    return Docstring(
        inline(re.sub(r"\s+", " ", summary.partition(" See :func:")[0]).strip()),
        markdown(body),
        _entries(sections.get("Args", "")),
        _entries(sections.get("Raises", "")),
        tuple(name.rpartition(".")[2] for name in sees),
    )


def _outdented(content: str) -> tuple[str, str]:
    """Split what stands indented below a title from what comes after it."""
    lines = content.strip("\n").split("\n")
    end = next((i for i, line in enumerate(lines) if line[:1].strip()), len(lines))
    return inspect.cleandoc("\n".join(["", *lines[:end]])), "\n".join(lines[end:])


def _entries(section: str) -> dict[str, str]:
    """Return ``name: text`` of a section, whose texts go on in indented lines."""
    found = re.findall(r"^(\w+):\s*(.*(?:\n(?:[ ]+.*|))*)", section, re.MULTILINE)
    return {name: inline(re.sub(r"\s+", " ", text).strip()) for name, text in found}


def markdown(text: str) -> str:
    r"""Return the blocks of a docstring as Markdown.

    >>> print(markdown(".. math:: a + b\n\nwith :math:`a`"))
    ```math
    a + b
    ```
    <BLANKLINE>
    with $`a`$
    """
    text = _MATH.sub(lambda found: f"```math\n{_joined(found[1])}\n```", text)
    text = _DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
    text = re.sub(r" *# doctest: .*", "", text)
    pieces = re.split(r"(```.*?```)", text, flags=re.DOTALL)
    blocks = "".join(p if p.startswith("```") else inline(p) for p in pieces)
    return re.sub(r"\n{3,}", "\n\n", blocks).strip()


def _joined(formula: str) -> str:
    return "\n".join(line.strip() for line in formula.strip().split("\n") if line.strip())


def inline(text: str) -> str:
    """Return text with its roles as Markdown.

    >>> inline(":math:`T^2` by :func:`~a.divergence` of ``x``")
    '$`T^2`$ by `divergence` of `x`'
    """
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(f"$`{found[1]}`$")
        return f"\0{len(kept) - 1}\0"

    text = re.sub(r":math:`([^`]*)`", keep, text)
    text = re.sub(r":\w+:`~[\w.]*?(\w+)`", r"`\1`", text)
    text = re.sub(r":\w+:`([^`]*)`", r"`\1`", text)
    text = text.replace("``", "`").replace("\\|", "|")
    return re.sub(r"\0(\d+)\0", lambda found: kept[int(found[1])], text)
