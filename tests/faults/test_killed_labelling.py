"""Case 10 of the fault plan: the builder of a cache is killed with SIGKILL at random moments."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killed_labelling.py")
ROWS = 1500 * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_case_10_twenty_killed_passes_end_in_the_bytes_of_an_uninterrupted_one(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), str(tmp_path), "5", "4"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report = json.loads(done.stdout)
    assert report["equal"] == [True] * 5
    assert sum(report["killed"]) >= 5, "children were at work when they were killed"
    assert len({rows for rows in report["rows"] if 0 < rows < ROWS}) >= 2, "in different states"
