"""Optional packages, imported when they are needed and named when they are missing."""

import importlib
import warnings
from typing import Any

from tutelage.errors import MissingPackageError


def torchvision_module(name: str) -> Any:
    """Return ``torchvision.<name>``."""
    return _optional(f"torchvision.{name}")


def pillow_image() -> Any:
    """Return ``PIL.Image``, which comes with torchvision."""
    return _optional("PIL.Image")


def _optional(name: str) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    # A torchvision that was built for another torch fails with other errors than ImportError.
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise MissingPackageError(
            f"{name}: expected an importable package, found {type(error).__name__}: {error}; "
            'install it with: pip install "tutelage[vision]"'
        ) from error
