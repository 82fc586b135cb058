"""``tutelage distill``: train one student."""

from typing import Annotated

import typer

from tutelage.cli.arguments import RUNS, Changes, Device, Name, Recipe, Runs, changes_of


def distill(
    recipe: Recipe,
    changes: Changes = None,
    runs: Runs = RUNS,
    name: Name = None,
    device: Device = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in the folder of --name.")
    ] = False,
) -> None:
    """Train one student from the recipe's teacher.

    The report of one run cannot say what distillation gained: for that there is compare.
    """
    from tutelage.cli.running import distill_and_print
    from tutelage.recipes import load

    loaded = load(recipe, changes_of(changes, device))
    distill_and_print(
        loaded, runs, loaded.name if name is None else name, counted=name is None, resume=resume
    )
