"""``tutelage plan``: what a teacher costs, live and from a cache."""

from typing import Annotated

import typer

from tutelage.cli.arguments import Changes, Device, Recipe, changes_of


def plan(
    recipe: Recipe,
    changes: Changes = None,
    views: Annotated[
        int | None, typer.Option("--views", min=1, help="Versions of each image to keep.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Classes to keep of each answer.")
    ] = None,
    students: Annotated[
        int, typer.Option("--students", min=1, help="Trainings that would read the cache.")
    ] = 1,
    device: Device = None,
) -> None:
    """Measure teacher, student, data and loss over a few steps: does a cache pay, and when?"""
    from tutelage.recipes.plan import plan as look

    changed = changes_of(changes, device)
    for heading, words in look(recipe, changed, views=views, top_k=top_k, students=students):
        typer.echo(f"{heading:12}  {words}")
