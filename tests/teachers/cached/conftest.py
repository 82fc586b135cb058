"""``caches`` makes the small cache that the tests here read; it has no doctests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
collect_ignore_glob = ["caches.py"]
