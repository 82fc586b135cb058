import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import typer.main

from tutelage.cli import app as application
from tutelage.errors import DataError, NumericalError, ResourceError, TutelageError

Call = Callable[..., Any]

FROZEN = {
    "demo": ["--device", "--name", "--runs", "--seeds"],
    "distill": ["--device", "--name", "--resume", "--runs"],
    "compare": ["--device", "--name", "--runs"],
    "check": ["--device"],
    "plan": ["--device", "--students", "--top-k", "--views"],
    "evaluate": ["--device", "--on"],
    "report": [],
    "doctor": ["--runs"],
    "list": [],
    "cache": [],
}
CACHE = {
    "build": [
        *("--batch-size", "--device", "--dtype", "--taps", "--temperatures"),
        *("--to", "--top-k", "--views"),
    ],
    "info": [],
    "verify": ["--device"],
    "repair": [],
}


def test_commands_and_options_are_the_promised_ones() -> None:
    group = typer.main.get_command(application.app)
    assert options_of(group) == FROZEN
    assert options_of(group.commands["cache"]) == CACHE  # type: ignore[attr-defined]


def options_of(group: object) -> dict[str, list[str]]:
    return {
        name: sorted(
            option
            for parameter in command.params
            for option in parameter.opts
            if option.startswith("--") and option != "--help"
        )
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }


@pytest.mark.parametrize("command", [[], *([name] for name in FROZEN)])
def test_help_imports_nothing_heavy(command: list[str]) -> None:
    # typer itself takes pydantic for the help of a command, but not for the list of them.
    heavy = ["torch", "numpy", "yaml", "jinja2", "timm", "torchvision"]
    heavy += [] if command else ["pydantic"]
    code = (
        "import sys\n"
        "from tutelage.cli import main\n"
        "try:\n"
        f"    main({[*command, '--help']})\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
        f"heavy = {set(heavy)} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_python_m_tutelage_prints_the_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tutelage", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    assert done.stdout.strip().count(".") == 2


def test_an_unknown_command_suggests_the_right_one(tutelage: Call) -> None:
    outcome = tutelage("dmo")
    assert outcome.code == 2
    assert "Did you mean 'demo'?" in outcome.err


@pytest.mark.parametrize(
    ("error", "code"),
    [(TutelageError, 2), (DataError, 3), (NumericalError, 4), (ResourceError, 5)],
)
def test_a_failure_is_one_message_and_its_exit_code(
    error: type[TutelageError], code: int, tutelage: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise error("this is what went wrong")

    monkeypatch.setattr(application, "app", fail)
    outcome = tutelage("demo")
    assert (outcome.code, outcome.out, outcome.err) == (code, "", "this is what went wrong\n")


def test_an_interruption_ends_with_130(tutelage: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(application, "app", fail)
    assert tutelage("demo").code == 130


@pytest.mark.parametrize(
    ("error", "code", "advice"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 5, "free some space"),
        (MemoryError("no memory"), 5, "lower training.batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory.\nlong"), 5, "lower training.batch_size"),
    ],
)
def test_missing_resources_end_with_5(
    error: Exception, code: int, advice: str, tutelage: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(application, "app", fail)
    outcome = tutelage("demo")
    assert outcome.code == code
    assert advice in outcome.err


def test_a_request_to_terminate_ends_with_143(
    tutelage: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(application, "app", fail)
    assert tutelage("demo").code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_error_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(application, "app", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        application.main(["demo"])


def test_under_torchrun_a_message_says_which_process_speaks(
    tutelage: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert tutelage("check", "no-such-recipe").err.startswith("[rank 1] recipe no-such-recipe")
