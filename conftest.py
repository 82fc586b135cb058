"""Leave out the doctests of adapters whose framework is not installed here."""

from importlib.util import find_spec
from pathlib import Path

_ADAPTERS = Path(__file__).parent / "src" / "tutelage" / "adapters"
_NEEDS = {"timm": "timm", "fastai": "fastai"}

collect_ignore = [
    str(_ADAPTERS / name) for name, package in _NEEDS.items() if not find_spec(package)
]
