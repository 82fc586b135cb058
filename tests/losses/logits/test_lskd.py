"""Standardised logits and their KD, against Python's own statistics."""

import math
import statistics

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import KDLoss, LSKDLoss
from tutelage.losses.logits.lskd import standardized, standardized_divergence


def reference(student, teacher, temperature, weigh):
    """KD of standardised logits, by hand for one row."""
    logs = []
    for row in (student, teacher):
        mean, deviation = statistics.fmean(row), statistics.stdev(row) + 1e-7
        z = [(value - mean) / deviation / temperature for value in row]
        total = math.log(sum(map(math.exp, z)))
        logs.append([value - total for value in z])
    divergence = sum(math.exp(p) * (p - q) for q, p in zip(*logs, strict=True))
    return temperature**2 * divergence * (statistics.variance(teacher) if weigh else 1)


@pytest.mark.parametrize("weigh", [False, True])
@pytest.mark.parametrize("temperature", [1, 2.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, weigh):
    torch.manual_seed(0)
    student, teacher = 3 * torch.randn(2, *shape, dtype=torch.float64)
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [reference(*row, temperature, weigh) for row in rows]
    expected = torch.tensor(values, dtype=torch.float64).view(shape[:-1])
    settings = {"temperature": temperature, "weight_by_teacher_std": weigh}
    found = standardized_divergence(student, teacher, **settings)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(LSKDLoss(**settings)(student, teacher), expected.mean())


def test_a_known_number():
    # Two classes standardise to +-1/sqrt(2). Opposite answers at T = sqrt(2) are the logits
    # +-1/2, with p = e / (1 + e): 2 (2p - 1) in nats.
    student, teacher = torch.tensor([[0.0, 7.0]]), torch.tensor([[3.0, 1.0]])
    value = LSKDLoss(temperature=math.sqrt(2))(student, teacher)
    p = math.e / (1 + math.e)
    assert value.item() == pytest.approx(2 * (2 * p - 1), rel=1e-6)


def test_neither_size_nor_shift_counts():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    loss = LSKDLoss(eps=0.0)
    torch.testing.assert_close(loss(3 * student - 2, 5 * teacher + 7), loss(student, teacher))


def test_with_its_weight_it_is_kd_with_a_temperature_for_each_row():
    # NormKD: T_i = tau * std(z_i) for each side, weight (tau * std(z^t_i))^2.
    student, teacher = 3 * torch.randn(2, 1, 5, dtype=torch.float64)
    t_s, t_t = 1.5 * student.std(), 1.5 * teacher.std()
    expected = t_t**2 * KDLoss(temperature=1.0)(student / t_s, teacher / t_t)
    found = LSKDLoss(temperature=1.5, weight_by_teacher_std=True, eps=0.0)(student, teacher)
    torch.testing.assert_close(found, expected)


def test_standardised_rows_have_mean_0_and_deviation_1_even_far_from_0():
    z = standardized(1e4 + torch.randn(4, 50))
    torch.testing.assert_close(z.mean(-1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.std(-1), torch.ones(4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_equal_logits_say_nothing_and_learn_nothing(dtype):
    student = torch.full((2, 5), 0.1, dtype=dtype, requires_grad=True)
    value = LSKDLoss()(student, torch.randn(2, 5).to(dtype))
    value.backward()
    assert value.item() > 0
    assert student.grad.eq(0).all()


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"LSKDLoss: .*found student \[4, 5\] vs teacher \[4, 6\]"):
        LSKDLoss()(torch.zeros(4, 5), torch.zeros(4, 6))


@pytest.mark.parametrize("name", ["temperature", "eps"])
def test_hyper_parameters_outside_their_range_are_refused(name):
    with pytest.raises(InputError, match=rf"LSKDLoss.{name}: expected a finite number .*found -1"):
        LSKDLoss(**{name: -1})
