"""From the rows of a cache to a teacher's signals, and what a live teacher adds to them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tutelage.cache import Layout, Rows
from tutelage.errors import TapError, TeacherError, did_you_mean
from tutelage.signals import Signals, SparseLogits, pooled

POOLED = ":pooled"


def sources_of(names: Sequence[str], layout: Layout, where: str) -> dict[str, str]:
    """Return for each tap the column of the cache that it is read from.

    The mean of a cached map, ``"layer3:pooled"``, is made from the map.

    Raises:
        TapError: The cache holds no such tap.
    """
    held = [tap.name for tap in layout.taps]
    sources = {}
    for name in names:
        source = name if name in held else name.removesuffix(POOLED)
        if source not in held:
            holds = "none" if not held else ", ".join(held)
            raise TapError(
                f"{where}: expected the teacher's tap {name!r} in it, found {holds} "
                f"({did_you_mean(name, held)}); build it with --taps {name}, or use the live "
                "teacher"
            )
        sources[name] = source
    return sources


def signals_from(rows: Rows, sources: Mapping[str, str], policy: str) -> Signals:
    """Return the rows as signals, with the taps that are promised."""
    taps = {
        name: rows.taps[source] if name == source else pooled(rows.taps[source])
        for name, source in sources.items()
    }
    logits = rows.logits
    if isinstance(logits, SparseLogits):
        logits = replace(logits, policy=policy)
    return Signals(logits, taps)


def example_of(layout: Layout, policy: str) -> SparseLogits | None:
    """Return one made-up row of a top-k cache, with all that its rows have; else ``None``."""
    if layout.kept is None or layout.num_classes is None:
        return None
    uniform = torch.zeros(1, layout.num_classes)
    return SparseLogits.from_logits(
        uniform, k=layout.kept, temperatures=layout.temperatures, policy=policy
    )


def pruned(signals: Signals, example: SparseLogits) -> Signals:
    """Return signals with the classes of their logits only that a top-k cache would keep."""
    if not isinstance(signals.logits, Tensor):
        return signals
    logits = SparseLogits.from_logits(
        signals.logits.float(),
        k=example.k,
        temperatures=list(example.log_totals),
        policy=example.policy,
    )
    return Signals(logits, signals.taps)


def filled(signals: Signals, live: Signals, where: Tensor) -> Signals:
    """Return the signals with a live teacher's in place of the rows ``where``, ``[b]``.

    Raises:
        TeacherError: The live teacher shows less, or other shapes.
    """
    logits: Tensor | SparseLogits | None = signals.logits
    if isinstance(logits, SparseLogits):
        logits = _filled(logits, _shown(live.logits, "logits"), where)
    elif logits is not None:
        logits = _put(logits, _shown(live.logits, "logits"), where, "logits")
    taps = {
        name: _put(tap, _shown(live.taps.get(name), name), where, name)
        for name, tap in signals.taps.items()
    }
    return Signals(logits, taps)


def moved(signals: Signals, function: Callable[[Tensor], Tensor]) -> Signals:
    """Return the signals with ``function(tensor)`` in place of each tensor."""
    logits = signals.logits
    if isinstance(logits, SparseLogits):
        logits = logits.map(function)
    elif logits is not None:
        logits = function(logits)
    return Signals(logits, {name: function(tap) for name, tap in signals.taps.items()})


def _filled(kept: SparseLogits, dense: Tensor, where: Tensor) -> SparseLogits:
    if dense.shape[-1] != kept.num_classes:
        raise _other("logits", kept.shape, dense.shape)
    known = list(kept.log_totals)
    others = SparseLogits.from_logits(dense.float(), k=kept.k, temperatures=known)
    log_rest = others.softened(1.0)[1]

    def put(tensor: Tensor, rows: Tensor) -> Tensor:
        return _put(tensor, rows, where, "logits")

    return replace(
        kept,
        ids=put(kept.ids, others.ids),
        log_probs=put(kept.log_probs, others.log_probs),
        rest=None if kept.rest is None else put(kept.rest, log_rest),
        log_totals={t: put(kept.log_totals[t], others.log_totals[t]) for t in known},
    )


def _shown(value: Any, what: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise TeacherError(
            f"cache: expected {what} of all classes from the teacher that stands in for missing "
            f"rows, found {value!r}; give the teacher that the cache was made from"
        )
    return value


def _put(tensor: Tensor, rows: Tensor, where: Tensor, what: str) -> Tensor:
    if rows.shape[1:] != tensor.shape[1:]:
        raise _other(what, tensor.shape, rows.shape)
    return tensor.index_copy(0, where.to(tensor.device), rows.detach().to(tensor))


def _other(what: str, expected: torch.Size, found: torch.Size) -> TeacherError:
    return TeacherError(
        f"cache: expected {what} {list(expected[1:])} for each sample from the teacher that stands "
        f"in for missing rows, found {list(found[1:])}; give the teacher that the cache was made "
        "from"
    )
