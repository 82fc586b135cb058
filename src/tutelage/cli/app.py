"""The commands together, and how a failure becomes a message and an exit code."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

import tutelage
from tutelage.cli.check import check
from tutelage.cli.compare import compare
from tutelage.cli.demo import demo
from tutelage.cli.distill import distill
from tutelage.cli.doctor import doctor
from tutelage.cli.evaluate import evaluate
from tutelage.cli.listing import list_
from tutelage.cli.report import report
from tutelage.errors import TutelageError

INTERRUPTED = 130

app = typer.Typer(
    name="tutelage",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (demo, distill, compare, check, evaluate, report, doctor):
    app.command()(_command)
app.command("list")(list_)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(tutelage.__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train a small model from a big one, and learn honestly whether it helped.

    Start with: tutelage demo
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave the process with its exit code.

    0 is success, 2 a bad configuration or input, 3 damaged data, 4 a numerical failure, 5 missing
    resources, 130 an interruption.
    """
    try:
        app(args=arguments, prog_name="tutelage")
    except TutelageError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _say(message: str) -> None:
    rank = os.environ.get("RANK")
    # Under torchrun several processes may fail at once: say which one speaks.
    print(f"[rank {rank}] {message}" if rank else message, file=sys.stderr)
