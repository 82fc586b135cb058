"""``tutelage cache``: a teacher's answers on disk."""

from pathlib import Path
from typing import Annotated

import typer

from tutelage.cli.arguments import Changes, Device, Recipe, changes_of
from tutelage.errors import DataError

app = typer.Typer(
    no_args_is_help=True, help="Keep a teacher's answers on disk, and look after them."
)

Cache = Annotated[Path, typer.Argument(help="The folder of a cache, such as caches/digits.")]


@app.command()
def build(
    recipe: Recipe,
    changes: Changes = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="The folder; default: teacher.cache, or caches/RECIPE."),
    ] = None,
    views: Annotated[
        int | None, typer.Option("--views", min=1, help="Random versions of each image.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", min=1, help="Classes to keep; default: all.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="fp32 (default), fp16 or bf16.")
    ] = None,
    temperatures: Annotated[
        str, typer.Option("--temperatures", help="More than the recipe's terms use: 2,4.")
    ] = "",
    taps: Annotated[
        str, typer.Option("--taps", help="Layers to keep beside those of the terms: a,b:pooled.")
    ] = "",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Images asked about at once.")
    ] = None,
    device: Device = None,
) -> None:
    """Ask the recipe's teacher about every view of every image; go on where a build stopped."""
    from tutelage.cli.watching import watching
    from tutelage.recipes import load
    from tutelage.recipes.caching import build_cache, describe_cache, place_of

    loaded = load(recipe, changes_of(changes, device))
    path = to or place_of(loaded)
    with watching() as watch:
        report = build_cache(
            loaded,
            path,
            views=views,
            top_k=top_k,
            dtype=dtype,
            temperatures=_numbers(temperatures),
            taps=[tap for tap in taps.split(",") if tap],
            batch_size=batch_size,
            watch=watch,
        )
    _print(describe_cache(path))
    if report.warning:
        typer.echo(f"warning: {report.warning}")
    typer.echo(
        f"\n{report.written:,} of {report.rows:,} rows written in {report.seconds:.0f} s; "
        f"read them with teacher.cache={path}"
    )


@app.command()
def info(cache: Cache) -> None:
    """Print what a cache holds, of which teacher and which data."""
    from tutelage.recipes.caching import describe_cache

    _print(describe_cache(cache))


@app.command()
def verify(
    cache: Cache,
    recipe: Annotated[
        str | None,
        typer.Argument(help="Also compare with this recipe's data, views and teacher."),
    ] = None,
    changes: Changes = None,
    device: Device = None,
) -> None:
    """Look at every byte: checksums, headers, ids, manifest. Ends with 3 if one is wrong."""
    from tutelage.cache import verify as look
    from tutelage.recipes import load
    from tutelage.recipes.caching import compare_cache

    report = look(cache)
    for shard in report.shards:
        if shard.fault or shard.bad:
            found = shard.fault or f"{shard.bad} of {shard.rows} rows damaged"
            typer.echo(f"{shard.file}: {found}")
    for fault in report.faults:
        typer.echo(fault)
    typer.echo(
        f"{cache}: {report.rows:,} rows, {report.missing:,} not written, {report.bad:,} damaged "
        f"({report.seconds:.1f} s)"
    )
    if not report.ok:
        raise DataError(
            f"cache {cache}: expected every byte as it was written; run tutelage cache repair "
            f"{cache}, then build it again, which fills the holes"
        )
    if recipe is not None:
        _print(compare_cache(load(recipe, changes_of(changes, device)), cache))


@app.command()
def repair(cache: Cache) -> None:
    """Make a damaged cache fit to be built again; damaged files are moved, nothing is deleted."""
    from tutelage.cache import repair as mend

    found = mend(cache)
    if found.ok:
        typer.echo(f"{cache}: nothing is damaged")
        return
    if found.faults:
        for fault in found.faults:
            typer.echo(fault)
        typer.echo(f"{cache}: nobody can tell whose rows these are; all files are in damaged/ now")
        typer.echo("tutelage cache build asks the teacher about all images again")
        return
    typer.echo(
        f"{cache}: {found.bad:,} of {found.rows:,} rows were damaged and count as missing now; "
        "tutelage cache build fills them"
    )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part]
    except ValueError:
        raise typer.BadParameter(f"expected numbers such as 2,4, found {text!r}") from None


def _print(lines: object) -> None:
    for heading, words in lines:  # type: ignore[attr-defined]
        typer.echo(f"{heading:12}  {words}")
