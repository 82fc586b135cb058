"""Where a term looks: pairs of a layer of the student and a layer of the teacher."""

from collections.abc import Sequence
from typing import TypeGuard

from tutelage.errors import TapError
from tutelage.signals import OUTPUT

Place = tuple[str | None, str | None]
"""A student's layer and a teacher's; ``None`` on a side stands for that model's logits."""

At = str | Place | Sequence[Place]


def places_of(at: At | None, name: str) -> tuple[Place, ...]:
    """Return the pairs that ``at`` names: none for the logits of both.

    Raises:
        TapError: It is neither a layer, a pair, nor a sequence of pairs.

    >>> places_of("layer3", "hint")
    (('layer3', 'layer3'),)
    >>> places_of([("a", "b"), ("c", None)], "hint")
    (('a', 'b'), ('c', None))
    """
    if at is None:
        return ()
    if isinstance(at, str):
        return _checked(((at, at),), name)
    if _is_pair(at):
        return _checked(((at[0], at[1]),), name)
    # Bare names in a list are refused: two of them could be two layers or a pair.
    if isinstance(at, Sequence) and at and all(map(_is_pair, at)):
        return _checked(tuple((one[0], one[1]) for one in at), name)  # type: ignore[index]
    raise TapError(
        f"term '{name}': expected at=(student_layer, teacher_layer), or a list of such pairs, "
        f"found at={at!r}"
    )


def _checked(places: tuple[Place, ...], name: str) -> tuple[Place, ...]:
    for _, theirs in places:
        if theirs is not None and theirs.startswith(OUTPUT):
            raise TapError(
                f"term '{name}': expected {theirs!r} on the student's side, found it on the "
                "teacher's; write None for the teacher's logits, or one of its layers"
            )
    return places


def _is_pair(at: object) -> TypeGuard[Place]:
    return (
        isinstance(at, Sequence)
        and not isinstance(at, str)
        and len(at) == 2
        and all(layer is None or isinstance(layer, str) for layer in at)
    )
