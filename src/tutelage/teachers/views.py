"""Teachers that know their answers by sample and view, also where another teacher wraps them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor


def view_readers(teacher: object) -> list[Any]:
    """Return the teachers in ``teacher``, itself included, that must be told the view.

    Those are the ones with ``set_view(view)``, as of a cache. What they say holds for the images
    of that view alone.
    """
    return [part for part in parts_of(teacher) if hasattr(part, "set_view")]


def parts_of(teacher: object) -> list[Any]:
    """Return the teachers that ``teacher`` is made of, or itself; who has some says ``inner``."""
    inner = getattr(teacher, "inner", ())
    return [part for one in inner for part in parts_of(one)] if inner else [teacher]


def kept_identity(teacher: object) -> Mapping[str, Any] | None:
    """Return what a teacher with a cache says of whom it asked, or nothing if it has none."""
    identity = getattr(teacher, "identity", None)
    return identity if isinstance(identity, Mapping) and "teacher" in identity else None


@contextmanager
def rehearsal(teacher: object) -> Iterator[None]:
    """Let teachers that look answers up give those of any samples: a dry run has no ids."""
    readers = [reader for reader in view_readers(teacher) if hasattr(reader, "is_rehearsing")]
    for reader in readers:
        reader.is_rehearsing = True
    try:
        yield
    finally:
        for reader in readers:
            reader.is_rehearsing = False


def tell_view(teacher: object, view: int, ids: Tensor | None = None) -> None:
    """Tell ``teacher`` which view of its images the next batch shows, if it asks for that.

    Args:
        teacher: Any teacher, or ``None``.
        view: Which random version of the images; see :class:`~tutelage.data.Batch`.
        ids: The samples of that batch, in the memory of the CPU: whoever looks up answers for a
            device can begin with it.
    """
    for reader in view_readers(teacher):
        reader.set_view(view)
        if ids is not None and hasattr(reader, "prepare"):
            reader.prepare(ids)
