"""``records`` is a table of the tests here, not a module to look for doctests in."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
collect_ignore_glob = ["records/*.py"]
