"""``tutelage report``: the results and the report of a run folder, made again from its log."""

from tutelage.cli.arguments import Run


def report(run: Run) -> None:
    """Make the results and the report of a run folder again, from its log."""
    from tutelage.cli.running import conclude
    from tutelage.recipes import write_report
    from tutelage.runs import RunFolder

    folder = RunFolder(run)
    conclude(write_report(folder), folder)
