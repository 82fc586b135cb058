import math
import random
import statistics

import pytest

from tutelage.errors import InputError
from tutelage.report.paired import paired, t_cdf, t_quantile

# Two-sided 95% and 99% points of Student's t, from printed tables (to more digits: any CAS).
TABLE = [
    (0.975, 1, 12.706204736),
    (0.975, 2, 4.302652730),
    (0.975, 3, 3.182446305),
    (0.975, 4, 2.776445105),
    (0.975, 9, 2.262157163),
    (0.975, 19, 2.093024054),
    (0.975, 30, 2.042272456),
    (0.975, 100, 1.983971519),
    (0.995, 4, 4.604094871),
    (0.995, 10, 3.169272673),
]


@pytest.mark.parametrize(("p", "df", "value"), TABLE)
def test_the_quantile_equals_the_printed_table(p, df, value):
    assert t_quantile(p, df) == pytest.approx(value, abs=1e-6)
    assert t_quantile(1 - p, df) == pytest.approx(-value, abs=1e-6)


@pytest.mark.parametrize("df", [1, 2, 3, 4, 7, 10, 25])
@pytest.mark.parametrize("t", [-3.0, -0.4, 0.0, 0.7, 2.5])
def test_the_distribution_equals_its_density_integrated_numerically(df, t):
    scale = math.gamma((df + 1) / 2) / math.sqrt(df * math.pi) / math.gamma(df / 2)
    steps = 4000
    width = t / steps
    area = sum(
        scale * (1 + ((i + 0.5) * width) ** 2 / df) ** (-(df + 1) / 2) * width for i in range(steps)
    )
    assert t_cdf(t, df) == pytest.approx(0.5 + area, abs=1e-7)


def test_with_many_degrees_of_freedom_the_quantile_is_the_normal_one():
    assert t_quantile(0.975, 20_000) == pytest.approx(
        statistics.NormalDist().inv_cdf(0.975), abs=2e-4
    )


def test_the_interval_equals_a_naive_computation():
    # differences 0.01, 0.03, 0.02, -0.01, 0.05: mean 0.02, sd sqrt(0.002 / 4) = 0.02236068
    result = paired([0.81, 0.83, 0.82, 0.79, 0.85], [0.8] * 5)
    half = 2.776445105 * 0.0223606798 / math.sqrt(5)
    assert result.mean == pytest.approx(0.02)
    assert result.sd == pytest.approx(0.0223606798)
    assert result.interval == pytest.approx((0.02 - half, 0.02 + half), abs=1e-9)
    assert (result.n, result.wins, result.ties) == (5, 4, 0)


def test_the_order_of_pairs_and_a_shift_of_both_arms_change_nothing():
    rng = random.Random(3)
    left, right = ([rng.random() for _ in range(12)] for _ in range(2))
    order = rng.sample(range(12), 12)
    plain = paired(left, right)
    other = paired([left[i] + 0.25 for i in order], [right[i] + 0.25 for i in order])
    assert other.mean == pytest.approx(plain.mean)
    assert other.interval == pytest.approx(plain.interval)
    assert other.wins == plain.wins


def test_the_interval_covers_the_true_mean_about_95_times_in_100():
    rng = random.Random(0)
    hits = 0
    for _ in range(2000):
        low, high = paired([rng.gauss(0.3, 1.0) for _ in range(5)], [0.0] * 5).interval
        hits += low <= 0.3 <= high
    assert 0.935 <= hits / 2000 <= 0.965


def test_one_pair_has_no_interval_and_is_neither_above_nor_below_zero():
    result = paired([0.9], [0.8])
    assert result.interval is None
    assert result.sd is None
    assert not result.above_zero
    assert not result.below_zero


def test_equal_values_give_an_interval_of_zero_width_and_only_ties():
    result = paired([0.5, 0.7, 0.9], [0.5, 0.7, 0.9])
    assert result.interval == (0.0, 0.0)
    assert (result.wins, result.ties) == (0, 3)
    assert not result.above_zero


def test_wrong_input_is_refused_with_what_to_do():
    with pytest.raises(InputError, match="pair the arms by seed first"):
        paired([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="at least one, found 0 and 0"):
        paired([], [])
    with pytest.raises(InputError, match="found NaN or infinity; drop such seeds"):
        paired([math.nan, 1.0], [0.0, 0.0])
    with pytest.raises(InputError, match="between 0 and 1, found 1"):
        t_quantile(1.0, 3)
    with pytest.raises(InputError, match="df of at least 1, found 0"):
        t_quantile(0.9, 0)
