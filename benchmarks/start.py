"""How long it takes to start (B17): ``import tutelage`` and ``tutelage --help``, without torch."""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from harness import Lines

IMPORT = """
import sys, time
start = time.perf_counter()
import tutelage
elapsed = time.perf_counter() - start
assert "torch" not in sys.modules, "import tutelage brought torch in"
print(elapsed)
"""


def seconds_to_import() -> float:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def seconds_to_help() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tutelage", "--help"], capture_output=True, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    lines = Lines("start")
    # The clock, not CPU time: what counts is how long a person waits. The best of several rounds
    # is what the program itself needs; other load only adds to it.
    imports = [seconds_to_import() for _ in range(arguments.rounds)]
    helps = [seconds_to_help() for _ in range(arguments.rounds)]
    value = 1e3 * min(imports)
    note = f"median {1e3 * statistics.median(imports):.1f}"
    lines.add("B17 import tutelage, without torch (ms)", value, "<= 60", value <= 60, note)
    value = min(helps)
    note = f"median {statistics.median(helps):.2f}"
    lines.add("B17 tutelage --help (s)", value, "<= 0.5", value <= 0.5, note)
    lines.finish(arguments.json)


if __name__ == "__main__":
    main()
