"""Distance of classifier tokens, against loops over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import HiddenCosineLoss, PatientKDLoss


def unit(vector):
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


@pytest.mark.parametrize("token", [0, 2, -1])
def test_equals_the_reference(token):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    pairs = zip(student[:, token].tolist(), teacher[:, token].tolist(), strict=True)
    values = [sum((a - b) ** 2 for a, b in zip(unit(s), unit(t), strict=True)) for s, t in pairs]
    value = PatientKDLoss(token=token)(student, teacher)
    assert value.item() == pytest.approx(sum(values) / 3, rel=1e-12)
    torch.testing.assert_close(PatientKDLoss()(student[:, token], teacher[:, token]), value)


def test_a_known_number():
    # [1, 0] and [3, 4] / 5 differ by [2/5, -4/5]: 20 / 25.
    value = PatientKDLoss()(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(value, torch.tensor(0.8))


def test_it_is_twice_the_cosine_loss_of_that_token():
    student, teacher = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    cosine = HiddenCosineLoss()(student[:, :1], teacher[:, :1])
    torch.testing.assert_close(PatientKDLoss()(student, teacher), 2 * cosine)


def test_only_its_token_is_read():
    student, teacher = torch.randn(2, 3, 5, 4)
    student[:, 1:] = torch.nan
    assert PatientKDLoss()(student, teacher).isfinite()


def test_a_state_without_length_keeps_a_finite_gradient():
    student = torch.zeros(2, 3, 4, requires_grad=True)
    value = PatientKDLoss()(student, torch.ones(2, 3, 4))
    value.backward()
    torch.testing.assert_close(value.detach(), torch.tensor(1.0))
    assert student.grad.isfinite().all()


def test_what_does_not_fit_is_refused():
    states = torch.zeros(2, 3, 4)
    with pytest.raises(ShapeError, match=r"expected a token 3, found states \[2, 3, 4\]"):
        PatientKDLoss(token=3)(states, states)
    with pytest.raises(ShapeError, match=r"found student \[2, 3, 4\] vs teacher \[2, 3, 1\]"):
        PatientKDLoss()(states, states[..., :1])
    with pytest.raises(ShapeError, match=r"expected hidden states \[B, N, D\] or \[B, D\]"):
        PatientKDLoss()(states[None], states[None])
    with pytest.raises(InputError, match=r"PatientKDLoss.token: expected a whole number"):
        PatientKDLoss(token=0.5)
