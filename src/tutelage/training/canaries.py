"""Canaries: a few views that are drawn again later, to see that augmentation still does the same.

A library of images may change how it resizes, or how it uses random numbers, from one version to
the next. Its name and settings stay the same then, and only the pixels tell.
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.cache.mark import marks_of
from tutelage.data import ImageData
from tutelage.data.seeds import mix_each

_COUNT = 8
_SKETCHES = 4
# One grey level in one of three million values moves a sketch by more than this, and the rounding
# of another processor by a hundredth of it.
_SLACK = 1e-5

Canary = Mapping[str, Any]


def canaries_of(data: ImageData, *, views: int, view_seed: int) -> list[dict[str, Any]]:
    """Draw views evenly spread over the samples and return what their pixels were, as JSON.

    Args:
        data: The images, with their augmentation.
        views: How many views there are; the canaries are of different ones.
        view_seed: The seed from which they are drawn.

    Returns:
        For each of eight pairs: ``id``, ``view``, the ``sha256`` and the ``mark`` of its pixels,
        and ``sketches``, sums of the pixels with fixed random signs.
    """
    count = min(len(data), _COUNT)
    order = data.ids.argsort()
    places = torch.linspace(0, len(data) - 1, count).long()
    ids = data.ids[order[places]].tolist()
    return [_drawn(data, one, number % views, view_seed) for number, one in enumerate(ids)]


def changed_canaries(
    data: ImageData, canaries: Sequence[Canary], *, view_seed: int
) -> list[Canary]:
    """Return those canaries that look different when they are drawn again now.

    Pixels that differ by no more than the rounding of another processor count as the same.

    Args:
        data: The images; a canary that is not among them counts as changed.
        canaries: From :func:`canaries_of`.
        view_seed: As it was then.
    """
    known = set(data.ids.tolist())
    return [
        canary
        for canary in canaries
        if canary["id"] not in known
        or not _alike(canary, _drawn(data, canary["id"], canary["view"], view_seed))
    ]


def _drawn(data: ImageData, sample_id: int, view: int, view_seed: int) -> dict[str, Any]:
    shown = copy.copy(data)
    shown.seed = view_seed
    shown.set_view(view)
    position = (data.ids == sample_id).nonzero().flatten()
    pixels = shown.__getitems__(position).inputs
    content = pixels[0].contiguous().view(torch.uint8).numpy().tobytes()
    return {
        "id": sample_id,
        "view": view,
        "sha256": hashlib.sha256(content).hexdigest(),
        "mark": int(marks_of(pixels)),
        "sketches": _sketches(pixels[0]),
    }


def _sketches(pixels: Tensor) -> list[float]:
    """Return sums of the pixels with random signs, each over the root of their number."""
    values = pixels.flatten().double().numpy()
    words = mix_each(np.arange(_SKETCHES * len(values)), "canary").reshape(_SKETCHES, -1)
    signs = 1.0 - 2.0 * (words >> np.uint64(63)).astype(np.float64)
    sums = signs @ values / np.sqrt(len(values))
    return [round(float(one), 9) for one in sums]


def _alike(then: Canary, now: Canary) -> bool:
    if then["sha256"] == now["sha256"]:
        return True
    near = np.abs(np.subtract(then["sketches"], now["sketches"])) <= _SLACK
    return bool(near.all())
