"""``records`` is a table of the tests here and ``matrix`` a script: neither has doctests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
collect_ignore_glob = ["records/*.py", "matrix.py"]
