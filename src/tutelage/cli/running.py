"""Run a recipe from the command line: the folder, the progress, the table, the verdict."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer

from tutelage.cli.watching import watching
from tutelage.recipes import Recipe, run_comparison
from tutelage.recipes import distill as run_distill
from tutelage.report import judge, text_table
from tutelage.runs import RunFolder, check_name


def compare_and_print(
    recipe: Recipe, runs: Path, name: str, *, counted: bool, command: str
) -> None:
    """Run all arms, then print table, verdict and the report's path."""
    if not _is_main():
        run_comparison(recipe, None, command=command)
        return
    folder = RunFolder.create(runs, name, counted=counted)
    with _gone_if_nothing_ran(folder), watching() as watch:
        watch.say(_opening(recipe, folder))
        results = run_comparison(recipe, folder, command=command, watch=watch)
    conclude(results, folder)


def distill_and_print(
    recipe: Recipe, runs: Path, name: str, *, counted: bool, resume: bool
) -> None:
    """Train one student, then print table, verdict and the report's path."""
    if not _is_main():
        run_distill(recipe, RunFolder(runs / check_name(name)) if resume else None, resume=resume)
        return
    if resume:
        folder = RunFolder(runs / check_name(name))
    else:
        folder = RunFolder.create(runs, name, counted=counted)
    with _gone_if_nothing_ran(folder), watching() as watch:
        watch.say(f"distilling {recipe.name} into {folder.path}")
        results = run_distill(recipe, folder, watch=watch, resume=resume)
    conclude(results, folder)


@contextmanager
def _gone_if_nothing_ran(folder: RunFolder) -> Iterator[None]:
    """Remove the folder again if the run failed before it wrote anything."""
    try:
        yield
    except BaseException:
        log = folder.path / "log.jsonl"
        with suppress(OSError):
            if log.stat().st_size == 0:
                log.unlink()
                folder.checkpoints.rmdir()
                folder.path.rmdir()
        raise


def _opening(recipe: Recipe, folder: RunFolder) -> str:
    assert recipe.compare is not None
    arms = ", ".join(arm.name for arm in recipe.compare.arms)
    return f"comparing over {len(recipe.seeds)} paired seeds: {arms}\nrun folder: {folder.path}"


def conclude(results: dict[str, Any], folder: RunFolder) -> None:
    """Print the table, the verdict, the notes and the report's path."""
    typer.echo(f"\n{text_table(results)}\n\n{judge(results)['sentence']}")
    for note in results["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"\nreport: {(folder.path / 'report.html').resolve()}")


def _is_main() -> bool:
    """Return whether this is the process that speaks and writes (torchrun starts several)."""
    return int(os.environ.get("RANK", "0")) == 0
