"""From what a teacher says to the columns of a row.

Dense values are cast: float32 is bit-equal, float16 and bfloat16 within half a unit in the last
place. Top-k rows hold log-probabilities of the softmax at temperature 1 over *all* classes. In
float16 each is off by at most ``2^-11 |log p| + 2^-25`` (plus float32's rounding), so the KL
divergence that the rounding adds is at most ``2^-11`` times the entropy, which is below ``log C``:
0.0034 nats at a thousand classes, and for a confident teacher far less.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage import _check
from tutelage.cache.spec import (
    LOGITS,
    REST,
    TOP_IDS,
    TOP_LOG_PROBS,
    Layout,
    log_total_name,
    tap_name,
)
from tutelage.errors import InputError, NumericalError, ShapeError, TapError
from tutelage.signals import Signals

Columns = dict[str, NDArray[Any]]

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_AT_ONCE = 1 << 24  # values whose softmax is in memory at a time


def encode(layout: Layout, signals: Signals, ids: Sequence[int] | NDArray[np.int64]) -> Columns:
    """Return the columns of the rows of a batch.

    Args:
        layout: What a row holds.
        signals: The teacher's logits ``[B, C]`` and taps ``[B, ...]``, on any device.
        ids: The samples' ids, ``[B]``, for messages.

    Returns:
        For each payload column an array ``[B, *shape]`` in the memory of the CPU.

    Raises:
        NumericalError: If a row is not finite, or does not fit into the layout's type; names the
            samples. A logit of -inf (a class that is ruled out) is legal.
        ShapeError: If a tensor has another shape than the layout.
        TapError: If a tap is missing.
    """
    columns: Columns = {}
    if layout.num_classes is not None:
        logits = _logits(signals)
        _same_shape("logits", logits, (len(ids), layout.num_classes))
        if layout.kept is None:
            columns[LOGITS] = _dense(layout, "logits", logits, ids)
        else:
            columns |= _top(layout, logits, ids)
    for tap in layout.taps:
        value = _tap(signals, tap.name)
        _same_shape(f"tap {tap.name!r}", value, (len(ids), *tap.shape))
        columns[tap_name(tap.name)] = _dense(layout, f"tap {tap.name!r}", value, ids)
    return columns


def _dense(
    layout: Layout, what: str, values: Tensor, ids: Sequence[int] | NDArray[np.int64]
) -> NDArray[Any]:
    flat = values.flatten(1)
    if what == "logits":
        sound = (flat < torch.inf).all(1) & flat.isfinite().any(1)  # NaN is not below either
    else:
        sound = flat.isfinite().all(1)
    _refuse(~sound, f"{what} that are finite", "NaN or inf", ids, "look at these inputs")
    return _stored(layout, what, values, ids)


def _top(layout: Layout, logits: Tensor, ids: Sequence[int] | NDArray[np.int64]) -> Columns:
    rows = max(1, _AT_ONCE // logits.shape[1])
    chunks = [_top_of(layout, chunk) for chunk in torch.split(logits, rows)]
    parts = {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}
    best = parts[TOP_LOG_PROBS][:, :1]  # NaN, the largest of all to topk, if any logit was bad
    advice = "look at these inputs"
    _refuse(best.isnan()[:, 0], "logits that are finite", "NaN or inf", ids, advice)
    narrow = np.dtype("<u2" if logits.shape[1] <= 2**16 else "<u4")
    return {
        TOP_IDS: parts.pop(TOP_IDS).cpu().numpy().astype(narrow),
        TOP_LOG_PROBS: _stored(layout, "log-probabilities", parts.pop(TOP_LOG_PROBS), ids),
        REST: _stored(layout, "log-probabilities", parts.pop(REST), ids),
        **{name: total.float().cpu().numpy() for name, total in parts.items()},
    }


def _top_of(layout: Layout, logits: Tensor) -> dict[str, Tensor]:
    """Return the kept classes, the log of the mass outside, and the log-total of each softmax."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    log_probs = wide.log_softmax(1)
    parts = {
        log_total_name(temperature): (log_probs / temperature).logsumexp(1)
        for temperature in layout.temperatures
    }
    assert layout.kept is not None
    parts[TOP_LOG_PROBS], parts[TOP_IDS] = log_probs.topk(layout.kept)
    # Summed from the others: one minus what is kept would cancel.
    parts[REST] = log_probs.scatter_(1, parts[TOP_IDS], -torch.inf).logsumexp(1)
    return parts


def _stored(
    layout: Layout, what: str, values: Tensor, ids: Sequence[int] | NDArray[np.int64]
) -> NDArray[Any]:
    """Return values in the type of the layout; a value that becomes infinite is refused."""
    narrow = values.to(_DTYPES[layout.dtype])
    lost = (narrow.isinf() & ~values.isinf()).reshape(len(values), -1).any(1)
    _refuse(lost, f"{what} within {layout.dtype}", "larger ones", ids, "build it with dtype fp32")
    if narrow.dtype == torch.bfloat16:
        narrow = narrow.contiguous().view(torch.uint16)
    array: NDArray[Any] = narrow.cpu().contiguous().numpy()
    return array


def _refuse(
    bad: Tensor, expected: str, found: str, ids: Sequence[int] | NDArray[np.int64], advice: str
) -> None:
    rows = bad.nonzero()[:, 0].tolist()
    if rows:
        named = ", ".join(str(ids[row]) for row in rows[:8])
        more = f" and {len(rows) - 8} more" if len(rows) > 8 else ""
        raise NumericalError(
            f"cache: expected the teacher's {expected}, found {found} for samples {named}{more}; "
            f"{advice}"
        )


def _logits(signals: Signals) -> Tensor:
    if isinstance(signals.logits, Tensor):
        return signals.logits.detach()
    found = "some classes" if signals.logits is not None else "none"
    raise InputError(
        f"cache: expected the teacher's logits of all classes, found {found}; build from a live "
        "teacher, or let the layout keep taps only"
    )


def _tap(signals: Signals, name: str) -> Tensor:
    if name not in signals.taps:
        known = ", ".join(signals.taps) or "none"
        raise TapError(
            f"cache: expected the teacher's tap {name!r}, found {known}; let the teacher provide it"
        )
    return signals.taps[name].detach()


def _same_shape(what: str, value: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(value.shape) != shape:
        raise ShapeError(
            f"cache: expected {what} of shape {list(shape)}, found {_check.shape(value)}; build "
            "the cache with the layout of this teacher"
        )
