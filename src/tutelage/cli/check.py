"""``tutelage check``: a recipe, or a loop of one's own, looked at before hours are spent on it."""

from typing import TYPE_CHECKING

import typer

from tutelage.cli.arguments import Changes, Device, Recipe, changes_of

if TYPE_CHECKING:
    from tutelage.training import Wiring


def check(recipe: Recipe, changes: Changes = None, device: Device = None) -> None:
    """Look at everything a recipe would run, and at all its faults; train nothing.

    path.py:function may also return a tl.Wiring: what your own training loop is made of.
    """
    from tutelage.recipes.check import check as look
    from tutelage.recipes.functions import is_function
    from tutelage.recipes.load import made_by, read, source_of
    from tutelage.training import Wiring

    asked = changes_of(changes, device)
    if is_function(recipe):
        made = made_by(recipe)
        if isinstance(made, Wiring):
            _check_wiring(made, asked)
            return
        source = source_of(made, recipe, asked)
    else:
        source = read(recipe, asked)
    for heading, words in look(source):
        typer.echo(f"{heading:12}  {words}")


def _check_wiring(wiring: "Wiring", changes: list[str]) -> None:
    from tutelage.errors import InputError
    from tutelage.training import inspect_wiring

    if changes:
        raise InputError(
            f"check: expected no changes for a wiring, found {changes}; leave them out"
        )
    found = inspect_wiring(wiring)
    for heading, words in found.lines:
        typer.echo(f"{heading:12}  {words}")
    for note in found.notes:
        typer.echo(f"{'note':12}  {note}")
    if found.faults:
        raise InputError("\n".join(found.faults))
    typer.echo(f"{'result':12}  nothing is wired wrongly; nothing was trained, nothing was changed")
