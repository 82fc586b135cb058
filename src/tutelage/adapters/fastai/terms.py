"""From what the user gives to the callback, to terms."""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from tutelage.adapters.fastai.losses import made
from tutelage.errors import InputError, TapError
from tutelage.losses import Loss
from tutelage.objective import Term

Names = str | Sequence[str] | None
Pairs = list[tuple[str, str]]

_KEYWORDS = {"pred", "teacher_pred", "fm_s", "fm_t"}


def terms_of(
    loss: Any,
    students: Names,
    teachers: Names,
    projector: Any,
    *,
    class_axis: int | None = None,
) -> list[Term | Loss]:
    """Return the terms that the arguments of the callback stand for.

    Raises:
        InputError: They contradict each other.
        TapError: A loss of features has no layers, or one of logits has some.
    """
    pairs = _paired(students, teachers)
    if isinstance(loss, Term | list | tuple):
        if pairs or projector is not None or class_axis is not None:
            raise InputError(
                "KnowledgeDistillationCallback: expected the layers, projectors and class axes of "
                "terms in the terms, found activations_*, projector or class_axis beside them; "
                "give Term(..., at=..., via=..., class_axis=...)"
            )
        return [made(one) for one in loss] if isinstance(loss, list | tuple) else [loss]
    loss = made(loss)
    if not callable(loss):
        raise InputError(
            f"KnowledgeDistillationCallback: expected a loss, terms or a function, found {loss!r}"
        )
    if not isinstance(loss, Loss) and _takes_keywords(loss):
        return [_by_keywords(loss, pairs, projector)]
    _refuse_wrong_kind(loss, pairs)
    if len(pairs) < 2 or getattr(loss, "takes_layers", False):
        return [Term(loss, at=pairs or None, via=projector, class_axis=class_axis)]
    return _one_for_each(loss, pairs, projector)


def _paired(students: Names, teachers: Names) -> Pairs:
    mine, others = _listed(students), _listed(teachers)
    if len(mine) != len(others):
        raise InputError(
            "KnowledgeDistillationCallback: expected as many layers of the student as of the "
            f"teacher, found activations_student={mine} and activations_teacher={others}; they "
            "are paired in order"
        )
    return list(zip(mine, others, strict=True))


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())


def _one_for_each(loss: Any, pairs: Pairs, projector: Any) -> list[Term | Loss]:
    """Return a term for each pair; what a loss or a projector learns is not shared by them."""
    vias = list(projector) if isinstance(projector, list | tuple) else [projector] * len(pairs)
    if len(vias) != len(pairs):
        raise InputError(
            f"KnowledgeDistillationCallback: expected a projector for each of {len(pairs)} pairs "
            f"of layers, found {len(vias)}"
        )
    kind = str(getattr(loss, "name", None) or getattr(loss, "__name__", "loss"))
    names = [f"{kind}[{student}->{teacher}]" for student, teacher in pairs]
    return [
        Term(
            loss if not place or not isinstance(loss, Loss) else copy.deepcopy(loss),
            at=pair,
            via=via if vias.index(via) == place else copy.deepcopy(via),
            name=name if names.index(name) == place else f"{name}#{place + 1}",
        )
        for place, (pair, via, name) in enumerate(zip(pairs, vias, names, strict=True))
    ]


def _refuse_wrong_kind(loss: Any, pairs: Pairs) -> None:
    compares = getattr(loss, "compares", None)
    kind = type(loss).__name__
    if compares == "features" and not pairs:
        raise TapError(
            f"KnowledgeDistillationCallback: {kind} compares features; say which with "
            "activations_student=[...] and activations_teacher=[...]"
        )
    if compares == "logits" and pairs:
        raise TapError(
            f"KnowledgeDistillationCallback: {kind} compares logits, found layers in "
            "activations_*; leave them out, or give terms to compare both"
        )


def _takes_keywords(loss: Callable[..., Any]) -> bool:
    try:
        return bool(_KEYWORDS & set(inspect.signature(loss).parameters))
    except ValueError:  # some built-in functions have no signature
        return False


def _by_keywords(loss: Callable[..., Any], pairs: Pairs, projector: Any) -> Term:
    if projector is not None:
        raise InputError(
            "KnowledgeDistillationCallback: expected no projector beside a function of fm_s and "
            "fm_t, which reads the student's features themselves; give Term(..., via=...)"
        )
    name = getattr(loss, "__name__", None) or getattr(getattr(loss, "func", None), "__name__", "kd")
    return Term(ByKeywords(loss, pairs), at=[(None, None), *pairs], name=str(name))


class ByKeywords:
    """A function with fasterai's arguments: ``pred, teacher_pred, fm_s, fm_t, target``.

    Args:
        function: It gets those of them that it has parameters for.
        pairs: The layers, in the order in which ``fm_s`` and ``fm_t`` hold their features; a name
            that is there twice gets the number of its pair: ``layer1#2``.
    """

    def __init__(self, function: Callable[..., Tensor], pairs: Pairs) -> None:
        self.function = function
        self.keys = [_unlike([pair[side] for pair in pairs]) for side in (0, 1)]
        parameters = inspect.signature(function).parameters
        self.takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        self.takes = frozenset(parameters)

    def __call__(self, student: Any, teacher: Any, target: Tensor | None = None) -> Tensor:
        """Return the function's value for the logits, or the logits and the features, of both."""
        mine, others = (side if isinstance(side, list) else [side] for side in (student, teacher))
        given = {
            "pred": mine[0],
            "teacher_pred": others[0],
            "fm_s": dict(zip(self.keys[0], mine[1:], strict=True)),
            "fm_t": dict(zip(self.keys[1], others[1:], strict=True)),
            "target": target,
        }
        wanted = {k: v for k, v in given.items() if self.takes_all or k in self.takes}
        return self.function(**wanted)


def _unlike(names: Sequence[str]) -> list[str]:
    return [
        name if names.index(name) == place else f"{name}#{place + 1}"
        for place, name in enumerate(names)
    ]
