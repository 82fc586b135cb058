"""How much of the teacher's probability the top-k classes hold."""

import math
from typing import Any

import numpy as np

from tutelage.cache.manifest import Manifest
from tutelage.cache.shards import Shard
from tutelage.cache.spec import REST, Layout

_ENOUGH = 0.9
_LEAST = 1e-12  # of the kept mass, where it rounds to nothing


class KeptMass:
    """Adds up, shard by shard, the mass inside the kept classes.

    Args:
        layout: What a row holds; a dense one has nothing to add up.
    """

    def __init__(self, layout: Layout) -> None:
        self._rest = next((c for c in layout.payload if c.name == REST), None)
        self._rows, self._low = 0, 0
        self._least, self._sums, self._biases = 1.0, [0.0], [0.0]

    def add(self, shard: Shard) -> None:
        """Count the rows of a shard that are written."""
        if self._rest is None or not shard.done.any():
            return
        bits = shard.payload[REST].view(self._rest.numpy)[shard.done == 1]
        if self._rest.dtype == "BF16":
            bits = (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
        kept = -np.expm1(bits.astype(np.float64))
        self._rows += len(kept)
        self._low += int((kept < _ENOUGH).sum())
        self._least = min(self._least, float(kept.min()))
        self._sums.append(float(kept.sum()))
        self._biases.append(float(-np.log(np.maximum(kept, _LEAST)).sum()))

    def summary(self) -> dict[str, Any]:
        """Return what ``kept_mass`` in the manifest says, or nothing for dense rows.

        Its ``bias`` is the mean of ``-log kept`` in nats: the KL divergence from the teacher of
        what a student learns to whom the kept classes, renormalised, are all there is.
        """
        if not self._rows:
            return {}
        mean = math.fsum(self._sums) / self._rows
        below = self._low / self._rows
        bias = math.fsum(self._biases) / self._rows
        found = {"min": self._least, "mean": mean, "below_0.9": below, "bias": bias}
        return {"kept_mass": found}


def few_kept(manifest: Manifest) -> str | None:
    """Return a warning if the kept classes hold less than 0.9 of the mass on average.

    >>> few_kept(Manifest(Layout(10, 2), 1, 1, "", {})) is None
    True
    """
    mass = manifest.extra.get("kept_mass", {})
    if not mass or mass["mean"] >= _ENOUGH:
        return None
    return (
        f"cache: the top {manifest.layout.kept} of {manifest.layout.num_classes} classes hold "
        f"{mass['mean']:.3f} of the teacher's probability on average (least {mass['min']:.3f}), "
        f"below {_ENOUGH}; renormalised, they are {mass['bias']:.3f} nats of KL divergence from "
        "the teacher: keep more classes, or all"
    )
