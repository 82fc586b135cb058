"""Whole-number hashing: random choices that are the same on every machine and version.

Orders and splits are sorted by the splitmix64 hash (Steele, Lea and Flood, OOPSLA 2014) of each
index, not drawn from a library's generator, whose stream may change between releases.
"""

import zlib
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Words = TypeVar("Words", int, NDArray[np.uint64])

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def mix(*key: int | str) -> int:
    """Return a 64-bit number, 0 to 2^64 - 1, that depends on every part of ``key``.

    >>> mix("order", 0, 1) == mix("order", 0, 1), mix("order", 0, 1) == mix("order", 1, 0)
    (True, False)
    """
    state = 0
    for part in key:
        word = zlib.crc32(part.encode()) if isinstance(part, str) else part
        state = scramble((state + _GOLDEN + word) & _MASK)
    return state


def mix_each(values: NDArray[np.int64], *key: int | str) -> NDArray[np.uint64]:
    """Return ``mix(*key, value)`` for each of ``values``, without a loop over them."""
    start = np.uint64((mix(*key) + _GOLDEN) & _MASK)
    return scramble(values.astype(np.uint64) + start)


def permutation(n: int, *key: int | str) -> NDArray[np.int64]:
    """Return the numbers 0 to ``n - 1`` in a random order that depends only on ``key``.

    >>> permutation(5, "order", 0).tolist() == permutation(5, "order", 0).tolist()
    True
    >>> sorted(permutation(5, "order", 0).tolist())
    [0, 1, 2, 3, 4]
    """
    return np.argsort(mix_each(np.arange(n), *key), kind="stable")


def scramble(words: Words) -> Words:
    """Return the splitmix64 hash of 64-bit words: one number, or an array of them."""
    z: Any = words  # numpy's types do not know that uint64 with an int stays uint64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    hashed: Words = z ^ (z >> 31)
    return hashed
