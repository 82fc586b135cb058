"""Collect an adapter's doctests and tests only where its framework can be imported."""

import warnings
from functools import cache
from importlib import import_module
from pathlib import Path

FRAMEWORKS = {"timm": "timm.task", "fastai": "fastai.basics"}


@cache
def _can_import(framework: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import_module(framework)
        except Exception:  # beside another build of torch it is installed, and fails in any way
            return False
    return True


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out the folder of a framework that is not there."""
    parent, name = collection_path.parent.name, collection_path.stem
    if parent == "adapters" and name in FRAMEWORKS:
        return None if _can_import(FRAMEWORKS[name]) else True
    return None
