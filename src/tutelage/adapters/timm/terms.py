"""What a task distils by: from ``loss_type`` to terms."""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from tutelage import losses
from tutelage.errors import InputError, did_you_mean
from tutelage.losses import Loss
from tutelage.losses.base import Schedule
from tutelage.objective import Place, Term

AnyLoss = str | Callable[..., Tensor] | Term | Sequence[Term | Loss]


def terms_of(loss: Any) -> list[Term] | None:
    """Return the terms, where the user gave terms with weights of their own.

    >>> terms_of("kl") is None
    True
    """
    if isinstance(loss, Term):
        return [loss]
    if isinstance(loss, str) or not isinstance(loss, Sequence):
        return None
    terms = [one if isinstance(one, Term) else Term(one) for one in loss]
    if not terms:
        raise InputError("loss_type: expected a loss or terms, found an empty list")
    return terms


def loss_of(
    loss: Any, words: Mapping[str, Callable[[], Loss]], temperature: float | Schedule
) -> Callable[..., Tensor]:
    """Return the loss: as given, or that of a name.

    Args:
        loss: A callable; one of ``words``; or a name of ``tutelage list losses``.
        words: What timm's words stand for.
        temperature: For losses by name that have one.

    Raises:
        InputError: There is no such loss.
    """
    if not isinstance(loss, str):
        found: Callable[..., Tensor] = loss
        return found
    if loss in words:
        return words[loss]()
    known = losses.index()
    if loss not in known:
        raise InputError(
            f"loss_type: unknown loss {loss!r}; {did_you_mean(loss, [*words, *known])}"
        )
    takes = inspect.signature(known[loss]).parameters
    return known[loss](**({"temperature": temperature} if "temperature" in takes else {}))


def terms_at(
    loss: Callable[..., Tensor],
    weight: float | Schedule,
    places: Sequence[Place],
    vias: Sequence[nn.Module | str | None],
    name: str,
) -> list[Term]:
    """Return a term for each pair of layers, or one for a loss that takes several at once."""
    if getattr(loss, "takes_layers", False):
        via = None if all(one is None for one in vias) else [one or "auto" for one in vias]
        return [Term(loss, weight, at=list(places), via=via, name=name)]
    if len(places) == 1:
        return [Term(loss, weight, at=places[0], via=vias[0], name=name)]
    return [
        # What a loss learns, or sizes by its layer, is not shared between layers.
        Term(
            copy.deepcopy(loss) if number else loss,
            weight,
            at=place,
            via=via,
            name=f"{place[0] or 'logits'}->{place[1] or 'logits'}",
        )
        for number, (place, via) in enumerate(zip(places, vias, strict=True))
    ]
