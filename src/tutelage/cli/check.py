"""``tutelage check``: a recipe looked at before hours are spent on it."""

import typer

from tutelage.cli.arguments import Changes, Device, Recipe, changes_of


def check(recipe: Recipe, changes: Changes = None, device: Device = None) -> None:
    """Look at everything a recipe would run, and at all its faults; train nothing."""
    from tutelage.recipes.check import check as look

    for heading, words in look(recipe, changes_of(changes, device)):
        typer.echo(f"{heading:12}  {words}")
