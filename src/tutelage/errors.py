"""The ways to fail. Each kind carries the exit code with which the command line ends."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import ClassVar


class TutelageError(ValueError):
    """Root of all errors a user can cause: a bad configuration or input (exit code 2)."""

    exit_code: ClassVar[int] = 2


class ShapeError(TutelageError):
    """Tensors that do not fit together."""


class TapError(TutelageError):
    """A layer that cannot be read: unknown, never called, called twice, or not a tensor."""


class TeacherError(TutelageError):
    """A teacher that would give wrong signals, or that is not apart from the student."""


class RecipeError(TutelageError):
    """A configuration that cannot be run. The message lists every fault that was found."""


class InputError(TutelageError):
    """An argument, a file or a folder that is missing or is not of the expected kind."""


class MissingPackageError(TutelageError):
    """An optional package that is not installed. The message names the extra that brings it."""


class DataError(TutelageError):
    """Data whose content is damaged or contradicts itself (exit code 3)."""

    exit_code: ClassVar[int] = 3


class NumericalError(TutelageError):
    """A loss, logit or gradient that is not finite (exit code 4)."""

    exit_code: ClassVar[int] = 4


class ResourceError(TutelageError):
    """Disk, memory or permissions do not suffice (exit code 5)."""

    exit_code: ClassVar[int] = 5


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return what to add to a message about an unknown name: close matches, or all known names.

    >>> did_you_mean("temprature", ["temperature", "weight"])
    "did you mean 'temperature'?"
    >>> did_you_mean("zzz", ["a", "b"])
    'known: a, b'
    """
    names = sorted(set(known))
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(repr(match) for match in close) + "?"
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return f"known: {shown}" if names else "there are none"
