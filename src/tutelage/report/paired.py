"""Paired statistics: two arms are compared seed by seed, never mean by mean."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev

from tutelage.errors import InputError

LEVEL = 0.95
"""Coverage of every interval in a report."""


@dataclass(frozen=True)
class Paired:
    """One arm against another over the same seeds.

    Args:
        n: Number of pairs, at least 1.
        mean: Mean of the differences, in the unit of the values.
        sd: Their sample standard deviation (``n - 1`` in the denominator); ``None`` for one pair.
        interval: Two-sided 95% Student-t interval of the mean; ``None`` for one pair, because
            one difference says nothing about its own spread.
        wins: Pairs with a difference above zero.
        ties: Pairs with a difference of exactly zero.
    """

    n: int
    mean: float
    sd: float | None
    interval: tuple[float, float] | None
    wins: int
    ties: int

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.interval is not None and self.interval[0] > 0

    @property
    def below_zero(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.interval is not None and self.interval[1] < 0


def paired(values: Sequence[float], reference: Sequence[float]) -> Paired:
    r"""Compare two arms whose entries of one index share a seed.

    With :math:`d_i = values_i - reference_i` the interval is
    :math:`\bar d \pm t_{0.975,\,n-1}\; s_d / \sqrt n`. Equal differences give an interval of
    zero width.

    Args:
        values: One value per seed, at least one.
        reference: The other arm's values, in the same order of seeds.

    Raises:
        InputError: If the lengths differ, nothing is given, or a value is not finite.

    >>> result = paired([0.91, 0.92, 0.93], [0.90, 0.90, 0.90])
    >>> round(result.mean, 6), [round(end, 6) for end in result.interval], result.wins
    (0.02, [-0.004841, 0.044841], 3)
    """
    if len(values) != len(reference) or not values:
        raise InputError(
            f"paired: expected as many values as references and at least one, found "
            f"{len(values)} and {len(reference)}; pair the arms by seed first"
        )
    differences = [a - b for a, b in zip(values, reference, strict=True)]
    if not all(math.isfinite(d) for d in differences):
        raise InputError("paired: expected finite values, found NaN or infinity; drop such seeds")
    n = len(differences)
    mean = fmean(differences)
    spread = stdev(differences) if n > 1 else None
    interval = None
    if spread is not None:
        half = t_quantile((1 + LEVEL) / 2, n - 1) * spread / math.sqrt(n)
        interval = (mean - half, mean + half)
    wins = sum(d > 0 for d in differences)
    ties = sum(d == 0 for d in differences)
    return Paired(n, mean, spread, interval, wins, ties)


def t_cdf(t: float, df: int) -> float:
    r"""Return :math:`P(T \le t)` of Student's t with an integer number of degrees of freedom.

    The finite sums in :math:`\cos^2\theta` with :math:`\theta = \arctan(t / \sqrt{df})`
    (Abramowitz and Stegun, 26.7.3 and 26.7.4): exact, no special functions.

    Raises:
        InputError: If ``df`` is below 1.

    >>> round(t_cdf(1.0, 1), 12)    # the Cauchy distribution
    0.75
    """
    if df < 1:
        raise InputError(f"t_cdf: expected df of at least 1, found {df}; use two seeds or more")
    theta = math.atan(t / math.sqrt(df))
    cosine, sine = math.cos(theta), math.sin(theta)
    odd = df % 2
    term = cosine if odd else 1.0
    total = term if df > 1 else 0.0
    for k in range(2 + odd, df, 2):
        term *= cosine * cosine * (k - 1) / k
        total += term
    inside = 2 / math.pi * (theta + sine * total) if odd else sine * total
    return (1 + inside) / 2


@lru_cache(maxsize=256)
def t_quantile(p: float, df: int) -> float:
    """Return ``t`` with ``t_cdf(t, df) == p``, by bisection to the last bit.

    Args:
        p: Probability, above 0 and below 1.
        df: Degrees of freedom, at least 1.

    Raises:
        InputError: If ``p`` or ``df`` is outside its range.

    >>> round(t_quantile(0.975, 9), 6)
    2.262157
    """
    if not 0 < p < 1:
        raise InputError(f"t_quantile: expected p between 0 and 1, found {p!r}")
    if p < 0.5:
        return -t_quantile(1 - p, df)
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        if t_cdf(middle, df) < p:
            low = middle
        else:
            high = middle
    return middle
