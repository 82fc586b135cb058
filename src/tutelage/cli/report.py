"""``tutelage report``: the results and the report of a run folder, made again from its log."""

import typer

from tutelage.cli.arguments import Run


def report(run: Run) -> None:
    """Make the results and the report of a run folder again, from its log."""
    from tutelage.recipes import write_report
    from tutelage.report import judge, text_table
    from tutelage.runs import RunFolder

    folder = RunFolder(run)
    results = write_report(folder)
    typer.echo(text_table(results))
    typer.echo(f"\n{judge(results)['sentence']}")
    typer.echo(str(folder.path / "report.html"))
