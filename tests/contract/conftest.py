"""``records`` is a table of the tests here, ``matrix`` a script: not to be looked at for doctests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
collect_ignore_glob = ["records/*.py", "matrix.py"]
