"""What a term refuses to be built from, and why: the one list of it."""

from typing import TYPE_CHECKING

from torch import nn

from tutelage.errors import InputError, TapError

if TYPE_CHECKING:  # which refuses through this file
    from tutelage.objective.term import Term


def refuse_what_cannot_work(term: "Term") -> None:
    """Raise if the term would train nothing, or something given would be ignored."""
    kind = type(term.loss).__name__
    if getattr(term.loss, "compares", "logits") == "features" and not term.places:
        raise TapError(
            f"term '{term.name}': {kind} compares features; say which "
            'with at=("student_layer", "teacher_layer")'
        )
    if len(term.places) > 1 and not term.takes_layers:
        raise InputError(
            f"term '{term.name}': {kind} takes one pair of layers, found {len(term.places)}; "
            "give each pair a Term of its own"
        )
    if term.via is not None and term.only_watches:
        raise InputError(
            f"term '{term.name}': a projector under a constant weight of 0 would never train; "
            "give it a weight above 0 or drop via="
        )
    if term.via is not None and not term.reads_student:
        raise InputError(
            f"term '{term.name}': via= is for the student's tensor, which {kind} does not read "
            "here; leave it out"
        )
    if term.normalize is not None and not term.needs_teacher:
        raise InputError(
            f"term '{term.name}': normalize= is for the teacher's tensor, which {kind} does "
            "not read; leave it out"
        )
    if term.only_watches and _learns(term.loss):
        raise InputError(
            f"term '{term.name}': what {kind} learns would never train under a constant "
            "weight of 0; give it a weight above 0 or leave the term out"
        )
    if term.borrow is not None and getattr(term.loss, "borrows", None) is None:
        raise InputError(
            f"term '{term.name}': {kind} borrows nothing from the teacher; leave out borrow="
        )
    if term.borrow is None and not getattr(term.loss, "has_borrowed", True):
        raise InputError(
            f"term '{term.name}': {kind} needs {getattr(term.loss, 'borrows', '')}; name that "
            'layer of the teacher with borrow="..."'
        )


def _learns(loss: object) -> bool:
    """Return whether the loss has parameters that train."""
    parameters = loss.parameters() if isinstance(loss, nn.Module) else ()
    return any(parameter.requires_grad for parameter in parameters)
