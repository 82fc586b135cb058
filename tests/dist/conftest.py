"""How the tests here start their processes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def _launch(*command: str, processes: int = 1, strict: bool = True) -> str:
    # Children import the same package as this process, installed or not.
    path = os.pathsep.join(filter(None, sys.path))
    python = [sys.executable, *(("-W", "error") if strict else ())]
    done = subprocess.run(
        [*python, *(TORCHRUN if processes == 2 else ()), *command],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="session")
def launch() -> Callable[..., str]:
    """Run a Python command in one process or in two, and return what it printed.

    ``launch("script.py", "out", processes=2)``; warnings are errors unless ``strict=False``.
    """
    return _launch


# The scripts that the processes run are no tests, and some need a framework that may be missing.
collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("*.py")
    if not path.name.startswith(("test_", "conftest"))
]
