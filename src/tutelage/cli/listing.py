"""``tutelage list``: what can be named in a recipe."""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from tutelage.errors import InputError, did_you_mean

_WIDTH = 80
_LEGEND = (
    "On the right is what a loss needs beside one tensor of student and teacher:",
    "the target; the samples' ids; several layers; a module of the teacher.",
    "One page each: tutelage list losses NAME",
)


class What(StrEnum):
    """What can be listed."""

    losses = "losses"
    models = "models"
    data = "data"
    layers = "layers"
    recipes = "recipes"


def list_(
    what: Annotated[What, typer.Argument(help="What to list.")],
    name: Annotated[
        str | None,
        typer.Argument(
            help="For layers: a model or a recipe; for losses: the one whose page to show; "
            "otherwise: only the one so called."
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="For layers: options of the model."),
    ] = None,
) -> None:
    """List losses, models, data sets, recipes, or the layers of a model."""
    if what is What.layers:
        _print(_layers(name, options or []))
        return
    if options:
        raise InputError(f"list {what.value}: takes no options, found {options[0]!r}; leave it out")
    if what is What.losses:
        typer.echo(_losses() if name is None else _loss(name), nl=False)
        return
    lister = {
        What.models: _models,
        What.data: _data,
        What.recipes: _recipes,
    }[what]
    _print(_only(name, what, list(lister())))


def _only(name: str | None, what: What, rows: list[Sequence[str]]) -> list[Sequence[str]]:
    """Return the rows, or the heading and the one that is called ``name``."""
    if name is None:
        return rows
    head, *named = rows
    found = [row for row in named if row[0] == name]
    if not found:
        hint = did_you_mean(name, [row[0] for row in named])
        raise InputError(f"list {what.value}: there is no {name!r} ({hint})")
    return [head, *found]


def _losses() -> str:
    """Return the index: one line each, in families."""
    from tutelage import losses
    from tutelage.losses.page import brief, family, needs

    rows: dict[str, list[tuple[str, str, str]]] = {}
    for name, loss in losses.index().items():
        rows.setdefault(family(loss), []).append((name, brief(loss), needs(loss)))
    width = max(len(row[0]) for group in rows.values() for row in group)
    lines = []
    for title, group in rows.items():
        lines += [title, *(_line(row, width) for row in sorted(group)), ""]
    return "\n".join([*lines, *_LEGEND, ""])


def _line(row: tuple[str, str, str], width: int) -> str:
    name, what, wants = row
    room = _WIDTH - width - 2 - (len(wants) + 2 if wants else 0)
    words = what if len(what) <= room else what[: room - 1].rstrip() + "\u2026"
    return f"{name:<{width}}  {words:<{room}}  {wants}".rstrip()


def _loss(name: str) -> str:
    from tutelage.cli.plain import plain
    from tutelage.losses.page import page

    return plain(page(name))


def _models() -> Iterable[Sequence[str]]:
    from tutelage import models

    yield "name", ""
    for name, builder in models.index().items():
        yield name, _first_line(builder)
    yield "timm/NAME", "Any model of timm (pip install 'tutelage[vision]')."
    yield "torchvision/NAME", "Any classifier of torchvision (the same extra)."
    yield "path.py:function", "Your own function that returns a module."


def _data() -> Iterable[Sequence[str]]:
    from tutelage import data
    from tutelage.recipes import options

    yield "name", "options", ""
    for name, loader in data.index().items():
        known = ", ".join(key for key in options.parameters(loader) or () if key != "seed")
        yield name, known, _first_line(loader)


def _recipes() -> Iterable[Sequence[str]]:
    from tutelage.recipes import describe, shipped

    yield "name", ""
    for name, text in shipped().items():
        yield name, describe(text)


def _layers(model: str | None, changes: list[str]) -> Iterable[Sequence[str]]:
    from tutelage.recipes.layers import names_recipe, of_model, of_recipe

    if model is None:
        raise InputError(
            "list layers: expected a model or a recipe, found none; "
            "try: tutelage list layers small_cnn"
        )
    return of_recipe(model, changes) if names_recipe(model) else of_model(model, changes)


def _first_line(thing: object) -> str:
    line = (thing.__doc__ or "").strip().partition("\n")[0].partition(" See ")[0]
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", line).replace("``", "")


def _print(rows: Iterable[Sequence[str]]) -> None:
    table = [tuple(row) for row in rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())
