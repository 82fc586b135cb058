"""``tutelage list``: what can be named in a recipe."""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated

import typer

from tutelage.errors import InputError, did_you_mean


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
        typer.Argument(help="For layers: a model or a recipe; otherwise: only the one so called."),
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
    lister = {
        What.losses: _losses,
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


def _losses() -> Iterable[Sequence[str]]:
    from tutelage import losses
    from tutelage.recipes import options

    yield "name", "compares", "paper", "options", ""
    for name, loss in losses.index().items():
        known = ", ".join(options.parameters(loss) or ())
        yield name, loss.compares, loss.paper, known, _first_line(loss)


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
