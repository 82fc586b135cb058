"""Hyper-parameters that move with the step."""

import copy

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import KDLoss
from tutelage.schedules import Cosine, Linear, Piecewise


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(2, 4, 5, dtype=torch.float64)


def rising(step):
    return 1.1 + step


def test_moving_the_schedule_before_the_backward_leaves_the_gradient(logits):
    student, teacher = logits[0].requires_grad_(), logits[1]
    loss = KDLoss(temperature=rising)
    first = loss(student, teacher)
    loss.set_step(3)
    second = loss(student, teacher)
    loss.set_step(5)
    (gradient,) = torch.autograd.grad(first + second, student)
    fixed = [KDLoss(temperature=t)(student, teacher) for t in (1.1, 4.1)]
    torch.testing.assert_close(gradient, torch.autograd.grad(sum(fixed), student)[0])


def test_the_value_is_exact_in_float64(logits):
    found = KDLoss(temperature=rising)(*logits)
    assert found.item() == KDLoss(temperature=1.1)(*logits).item()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_casting_a_module_does_not_round_a_temperature(dtype):
    loss = KDLoss(temperature=Linear(1e5, 1.1, steps=2)).to(dtype)
    assert loss.temperature.item() == 1e5
    torch.nn.Sequential(loss).to(dtype)
    loss.set_step(2)
    assert loss.temperature.item() == 1.1
    student, teacher = torch.randn(2, 4, 5)
    assert loss(student, teacher).dtype == torch.float32


def test_it_follows_the_module_to_a_device_and_back_from_one_without_values():
    loss = KDLoss(temperature=rising)
    loss.set_step(1)
    assert loss.to("meta").temperature.is_meta
    assert loss.to_empty(device="cpu").temperature.item() == 2.1
    assert "temperature" not in loss.state_dict()


@pytest.mark.parametrize(
    "schedule", [Linear(4.0, 0.0, 3), Cosine(4.0, -1.0, 3), Piecewise((4.0, 0.0, 2.0), (5, 9))]
)
def test_a_schedule_that_will_leave_the_range_is_refused_at_once(schedule):
    with pytest.raises(InputError, match=r"KDLoss.temperature under \w+\(.*above 0, found") as e:
        KDLoss(temperature=schedule)
    assert e.value.exit_code == 2


def test_a_function_that_leaves_the_range_is_refused_at_that_step():
    loss = KDLoss(temperature=lambda step: 1.0 - step)
    with pytest.raises(InputError, match=r"KDLoss.temperature: expected .* above 0, found 0.0"):
        loss.set_step(1)


@pytest.mark.parametrize("temperature", [4.0, Linear(4.0, 2.0, steps=5)])
def test_no_assignment_goes_past_the_check(temperature):
    loss = KDLoss(temperature=temperature)
    with pytest.raises(InputError, match=r"KDLoss.temperature: expected .* when this is made") as e:
        loss.temperature = -1.0
    assert e.value.exit_code == 2
    assert float(loss.temperature) == 4.0
    with pytest.raises(InputError, match=r"found a new one, 0.0; make another, or give a schedule"):
        copy.deepcopy(loss).temperature = 0.0
