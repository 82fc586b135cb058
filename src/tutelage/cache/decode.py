"""From rows of bytes to what the teacher said."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.cache.rows import Bytes, RowBytes
from tutelage.cache.spec import (
    LOGITS,
    REST,
    TOP_IDS,
    TOP_LOG_PROBS,
    Layout,
    log_total_name,
    tap_name,
)
from tutelage.signals import SparseLogits


@dataclass(frozen=True)
class Rows:
    """What a cache answers to a batch.

    Args:
        logits: Float32: all of them ``[B, C]``, or the likeliest classes, the likeliest first;
            ``None`` if the cache holds taps only.
        taps: Inner tensors by name, float32 ``[B, ...]``.
        marks: Sketches of the pixels that the teacher saw, uint8 ``[B]``.
        present: Whether there is a row, bool ``[B]``. The numbers of one that is not there are NaN.
    """

    logits: Tensor | SparseLogits | None
    taps: Mapping[str, Tensor]
    marks: Tensor
    present: Tensor


class Decoder:
    """Reads the tensors out of rows.

    Args:
        layout: What a row holds.
        form: Where it stands.
    """

    def __init__(self, layout: Layout, form: RowBytes) -> None:
        self._layout, self._form = layout, form

    def __call__(self, lines: Bytes, present: NDArray[np.bool_]) -> Rows:
        """Return the content of rows ``[B, bytes]``; those that are not there hold NaN."""
        layout = self._layout
        absent = None if present.all() else torch.from_numpy(~present)
        return Rows(
            logits=self._logits(lines, absent),
            taps={t.name: self._floats(lines, tap_name(t.name), absent) for t in layout.taps},
            marks=torch.from_numpy(self._form.marks(lines).copy()),
            present=torch.from_numpy(present),
        )

    def _logits(self, lines: Bytes, absent: Tensor | None) -> Tensor | SparseLogits | None:
        if self._layout.num_classes is None:
            return None
        if self._layout.kept is None:
            return self._floats(lines, LOGITS, absent)
        ids = self._form.values(lines, TOP_IDS).astype(np.int64)
        if absent is not None:
            ids[absent.numpy()] = 0
        names = {t: log_total_name(t) for t in self._layout.temperatures}
        return SparseLogits(
            torch.from_numpy(ids),
            self._floats(lines, TOP_LOG_PROBS, absent),
            rest=self._floats(lines, REST, absent),
            log_totals={t: self._floats(lines, name, absent) for t, name in names.items()},
            num_classes=self._layout.num_classes,
        )

    def _floats(self, lines: Bytes, name: str, absent: Tensor | None) -> Tensor:
        """Return a column widened to float32, in memory of its own."""
        stored = torch.from_numpy(self._form.values(lines, name))
        if self._layout.dtype == "bf16" and stored.dtype == torch.uint16:
            stored = stored.view(torch.bfloat16)
        wide = torch.empty(stored.shape, dtype=torch.float32).copy_(stored)
        return wide if absent is None else wide.masked_fill_(_beside(absent, wide), torch.nan)


def _beside(mask: Tensor, values: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (values.ndim - 1))
