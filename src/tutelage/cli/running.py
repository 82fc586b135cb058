"""Run a recipe from the command line: the folder, the progress, the table, the verdict."""

import os
from pathlib import Path
from typing import Any

import typer

from tutelage.cli.watching import watching
from tutelage.recipes import Recipe, run_comparison
from tutelage.recipes import distill as run_distill
from tutelage.report import judge, text_table
from tutelage.runs import RunFolder


def compare_and_print(
    recipe: Recipe, runs: Path, name: str, *, counted: bool, command: str
) -> None:
    """Run all arms, then print table, verdict and the report's path."""
    if not _is_main():
        run_comparison(recipe, None, command=command)
        return
    folder = RunFolder.create(runs, name, counted=counted)
    with watching() as watch:
        watch.say(_opening(recipe, folder))
        results = run_comparison(recipe, folder, command=command, watch=watch)
    _conclude(results, folder)


def distill_and_print(
    recipe: Recipe, runs: Path, name: str, *, counted: bool, resume: bool
) -> None:
    """Train one student, then print table, verdict and the report's path."""
    if not _is_main():
        run_distill(recipe, RunFolder(runs / name) if resume else None, resume=resume)
        return
    folder = RunFolder(runs / name) if resume else RunFolder.create(runs, name, counted=counted)
    with watching() as watch:
        watch.say(f"distilling {recipe.name} into {folder.path}")
        results = run_distill(recipe, folder, watch=watch, resume=resume)
    _conclude(results, folder)


def _opening(recipe: Recipe, folder: RunFolder) -> str:
    assert recipe.compare is not None
    arms = ", ".join(arm.name for arm in recipe.compare.arms)
    return f"comparing over {len(recipe.seeds)} paired seeds: {arms}\nrun folder: {folder.path}"


def _conclude(results: dict[str, Any], folder: RunFolder) -> None:
    typer.echo(f"\n{text_table(results)}\n\n{judge(results)['sentence']}")
    for note in results["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"\nreport: {(folder.path / 'report.html').resolve()}")


def _is_main() -> bool:
    """Return whether this is the process that speaks and writes (torchrun starts several)."""
    return int(os.environ.get("RANK", "0")) == 0
