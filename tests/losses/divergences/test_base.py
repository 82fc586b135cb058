"""What the divergences share."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import index
from tutelage.losses.divergences.ab_divergence import alpha_beta_divergence
from tutelage.losses.divergences.adaptive_kl import adaptive_divergence
from tutelage.losses.divergences.alpha_divergence import alpha_divergence
from tutelage.losses.divergences.base import DivergenceLoss, log_mixed, log_ratio
from tutelage.losses.divergences.jsd import jensen_shannon_divergence
from tutelage.losses.divergences.reverse_kl import reverse_divergence
from tutelage.losses.divergences.skew_kl import skew_divergence
from tutelage.losses.divergences.symmetric_kl import symmetric_divergence
from tutelage.losses.divergences.total_variation import total_variation

FAMILY = sorted(name for name, loss in index().items() if issubclass(loss, DivergenceLoss))


def test_all_of_the_family_are_here():
    assert len(FAMILY) >= 8


@pytest.mark.parametrize("name", FAMILY)
def test_the_factor_is_the_squared_temperature_in_value_and_gradient(name):
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    student.requires_grad_()
    plain = index()[name](temperature=3.0, scale_by_temperature=False)(student, teacher)
    scaled = index()[name](temperature=3.0)(student, teacher)
    torch.testing.assert_close(scaled, 9 * plain)
    gradients = [torch.autograd.grad(value, student)[0] for value in (scaled, plain)]
    torch.testing.assert_close(gradients[0], 9 * gradients[1])


@pytest.mark.parametrize("name", FAMILY)
def test_the_temperature_softens_both_sides(name):
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    loss = index()[name](temperature=4.0, scale_by_temperature=False)
    torch.testing.assert_close(loss(student, teacher), index()[name]()(student / 4, teacher / 4))


@pytest.mark.parametrize("name", FAMILY)
def test_a_schedule_moves_the_temperature_and_its_factor(name):
    student, teacher = torch.randn(2, 4, 5)
    moving = index()[name](temperature=lambda step: 1.0 + step)
    moving.set_step(2)
    value = moving(student, teacher)
    torch.testing.assert_close(value, index()[name](temperature=3.0)(student, teacher))
    assert value.dtype == torch.float32


@pytest.mark.parametrize("name", FAMILY)
def test_values_of_students_near_and_far_are_not_lost_in_the_rounding_of_float32(name):
    torch.manual_seed(0)
    teacher = torch.randn(200, 50)
    for size in (0.1, 1.0):
        student = teacher + size * torch.randn_like(teacher)
        exact = index()[name]()(student.double(), teacher.double())
        found = index()[name]()(student, teacher)
        assert exact > 0
        torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    "divergence",
    [
        adaptive_divergence,
        alpha_beta_divergence,
        alpha_divergence,
        jensen_shannon_divergence,
        reverse_divergence,
        skew_divergence,
        symmetric_divergence,
        total_variation,
    ],
)
def test_a_function_gives_dropped_positions_0_and_the_teacher_no_gradient(divergence):
    student, teacher = torch.randn(2, 3, 5)
    student[1] = teacher[1] = torch.nan
    student.requires_grad_()
    teacher.requires_grad_()
    kept = torch.tensor([True, False, True])
    values = divergence(student, teacher, kept=kept)
    values.sum().backward()
    assert values[1] == 0
    torch.testing.assert_close(values[kept], divergence(student[kept], teacher[kept]))
    assert student.grad.isfinite().all()
    assert student.grad[1].eq(0).all()
    assert teacher.grad is None


def test_without_a_teacher_it_says_what_to_do():
    with pytest.raises(InputError, match=r"JSDLoss: expected the teacher's logits, found None"):
        index()["jsd"]()(torch.zeros(2, 3), None)


def test_a_ratio_of_nothing_to_nothing_is_one_and_passes_no_gradient():
    a = torch.tensor([0.5, -torch.inf], requires_grad=True)
    ratio = log_ratio(a, torch.tensor([0.25, -torch.inf]))
    ratio.sum().backward()
    assert ratio.tolist() == [0.25, 0.0]
    assert a.grad.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("share", [1e-12, 0.3])
def test_a_mixture_over_one_of_its_parts_keeps_its_digits(share):
    for ratio in (-30.0, -1e-3, 2.0):
        expected = math.log1p(share * math.expm1(ratio))
        found = log_mixed(torch.tensor(ratio, dtype=torch.float64), share)
        torch.testing.assert_close(
            found, torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0
        )


def test_a_mixture_with_a_part_that_is_infinitely_larger_or_nothing():
    found = log_mixed(torch.tensor([torch.inf, -torch.inf]), 0.25)
    torch.testing.assert_close(found, torch.tensor([torch.inf, math.log(0.75)]))
    assert log_mixed(torch.tensor([-2.0]), 1).item() == -2
