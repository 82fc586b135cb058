"""``tutelage demo``: the whole thing, on real images that come with the package."""

from typing import Annotated

import typer

from tutelage.cli.arguments import RUNS, Device, Name, Runs, changes_of


def demo(
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Paired seeds.")] = None,
    runs: Runs = RUNS,
    name: Name = None,
    device: Device = None,
) -> None:
    """See distillation at work on handwritten digits, in about a minute, offline."""
    from tutelage.cli.running import compare_and_print
    from tutelage.recipes import load

    changes = changes_of([f"compare.seeds={seeds}"] if seeds else None, device)
    recipe = load("digits", changes)
    compare_and_print(
        recipe, runs, "demo" if name is None else name, counted=name is None, command="demo"
    )
