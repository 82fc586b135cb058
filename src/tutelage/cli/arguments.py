"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Recipe = Annotated[
    str, typer.Argument(help="path.yaml, a shipped recipe's name, or path.py:function.")
]
Changes = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes to the recipe, such as training.lr=0.01"),
]
Run = Annotated[Path, typer.Argument(help="A run folder, such as runs/digits.")]
Runs = Annotated[Path, typer.Option("--runs", help="The folder that holds all runs.")]
Name = Annotated[
    str | None,
    typer.Option("--name", help="Name of the run folder; default: the recipe's, with a counter."),
]
Device = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1 ...; default: the recipe's.")
]

RUNS = Path("runs")


def changes_of(changes: list[str] | None, device: str | None) -> list[str]:
    """Return the overrides of a command, its ``--device`` among them."""
    return [*(changes or []), *([f"training.device={device}"] if device else [])]
