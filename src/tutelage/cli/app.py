"""The commands together, and how a failure becomes a message and an exit code."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

import tutelage
from tutelage.cli.cache import app as cache
from tutelage.cli.check import check
from tutelage.cli.compare import compare
from tutelage.cli.demo import demo
from tutelage.cli.distill import distill
from tutelage.cli.doctor import doctor
from tutelage.cli.evaluate import evaluate
from tutelage.cli.listing import list_
from tutelage.cli.plan import plan
from tutelage.cli.report import report
from tutelage.errors import TutelageError

RESOURCES, INTERRUPTED, TERMINATED = 5, 130, 143

_NO_RESOURCE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOMEM, errno.EMFILE}

app = typer.Typer(
    name="tutelage",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (demo, distill, compare, check, plan, evaluate, report, doctor):
    app.command()(_command)
app.add_typer(cache, name="cache")
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
    resources, 130 an interruption, 143 a request to terminate.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        app(args=arguments, prog_name="tutelage")
    except TutelageError as error:
        _end(str(error), error.exit_code)
    except KeyboardInterrupt:
        _end("interrupted", INTERRUPTED)
    except SystemExit as leaving:
        # typer has turned an interruption into its exit code already.
        words = {INTERRUPTED: "interrupted", TERMINATED: "terminated"}.get(_code(leaving))
        if words is None:
            raise
        _end(words, _code(leaving))
    except OSError as error:
        if error.errno not in _NO_RESOURCE:
            raise
        _end(f"{error}; free some space, or choose another folder with --runs", RESOURCES)
    except (MemoryError, RuntimeError) as error:
        # torch is not imported for a name: its OutOfMemoryError is known by that name alone.
        if type(error).__name__ not in ("MemoryError", "OutOfMemoryError"):
            raise
        _end(
            f"out of memory: {str(error).partition(chr(10))[0]}; "
            "lower training.batch_size, or raise training.accumulate",
            RESOURCES,
        )
    finally:
        signal.signal(signal.SIGTERM, before)
    sys.exit(0)


def _code(leaving: SystemExit) -> int:
    return leaving.code if isinstance(leaving.code, int) else 0


def _terminate(number: int, frame: object) -> NoReturn:
    # As an exception, so that the log gets its last line and hooks are taken off.
    sys.exit(TERMINATED)


def _end(message: str, code: int) -> NoReturn:
    rank = os.environ.get("RANK")
    # Under torchrun several processes may fail at once: say which one speaks.
    print(f"[rank {rank}] {message}" if rank else message, file=sys.stderr)
    sys.exit(code)
