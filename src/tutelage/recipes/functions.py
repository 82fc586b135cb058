"""``path.py:function``: a function of the user's own, named in a recipe or on the command line."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tutelage.errors import RecipeError, TutelageError, did_you_mean

Made = TypeVar("Made")


def is_function(origin: str) -> bool:
    """Return whether ``origin`` is written as ``path.py:function``.

    >>> is_function("models/mine.py:build"), is_function("timm/resnet18")
    (True, False)
    """
    return origin.rpartition(":")[0].endswith(".py")


def run_function(origin: str, call: Callable[[], Made]) -> Made:
    """Return ``call()``, which runs the user's function ``origin``; its failure is named after it.

    Raises:
        RecipeError: If the function fails with anything but an error of ours.
    """
    try:
        return call()
    except TutelageError:
        raise
    except Exception as error:
        raise RecipeError(
            f"{origin}: it stopped with {type(error).__name__}: {error}; repair it"
        ) from error


def function_at(origin: str) -> Callable[..., Any]:
    """Return the function at ``path.py:function``; the file is run.

    Raises:
        RecipeError: If the file or the function does not exist, or the file cannot be run.
    """
    file, _, name = origin.rpartition(":")
    if not Path(file).is_file():
        raise RecipeError(f"{origin}: no such file {file}; check the path")
    spec = importlib.util.spec_from_file_location(f"tutelage_user_{Path(file).stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecipeError(
            f"{origin}: {file} stopped with {type(error).__name__}: {error}; repair that file"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, item in vars(module).items() if callable(item)]
        raise RecipeError(f"{origin}: no function {name!r} in {file} ({did_you_mean(name, known)})")
    found: Callable[..., Any] = function
    return found
