"""Teacher-free KD, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import CELoss, KDLoss, TeacherFreeKDLoss
from tutelage.losses.logits.teacher_free import virtual_teacher_divergence


def softmax(logits):
    powers = [math.exp(z - max(logits)) for z in logits]
    return [power / sum(powers) for power in powers]


def reference(student, y, temperature, correct):
    """T^2 KL of the softened hand-made teacher and the softened student, for one row of logits."""
    u = [(1 - correct) / (len(student) - 1)] * len(student)
    u[y] = correct
    p = softmax([math.log(u_c) / temperature for u_c in u])
    q = softmax([z / temperature for z in student])
    return temperature**2 * sum(p_c * math.log(p_c / q_c) for p_c, q_c in zip(p, q, strict=True))


@pytest.mark.parametrize(("temperature", "correct"), [(20.0, 0.99), (1, 0.9), (4.0, 0.5)])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, correct):
    torch.manual_seed(0)
    student = 2 * torch.randn(shape, dtype=torch.float64)
    target = torch.randint(shape[-1], shape[:-1])
    rows = zip(student.flatten(0, -2).tolist(), target.flatten().tolist(), strict=True)
    values = [reference(*row, temperature, correct) for row in rows]
    expected = torch.tensor(values, dtype=torch.float64).view(shape[:-1])
    settings = {"temperature": temperature, "correct": correct}
    found = virtual_teacher_divergence(student, target, **settings)
    torch.testing.assert_close(found, expected)
    loss = TeacherFreeKDLoss(**settings)
    torch.testing.assert_close(loss(student, None, target), expected.mean())


def test_a_known_number():
    # u = [9/10, 1/10]; its roots are as 3 to 1: [3/4, 1/4] against [1/2, 1/2], at T = 2.
    value = TeacherFreeKDLoss(temperature=2.0, correct=0.9)(
        torch.zeros(1, 2), None, torch.tensor([0])
    )
    assert value.item() == pytest.approx(3 * math.log(3) - 4 * math.log(2), rel=1e-5)


def test_at_temperature_1_its_gradient_is_that_of_smoothed_labels():
    # u gives each wrong class 0.1 / 4, which is smoothing by 5 / 4 * 0.1 over all five.
    student = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 4, -100, 2])
    found, smoothed = (
        torch.autograd.grad(loss(student, None, target), student)[0]
        for loss in (
            TeacherFreeKDLoss(temperature=1.0, correct=0.9),
            CELoss(label_smoothing=0.125),
        )
    )
    torch.testing.assert_close(found, smoothed)


def test_it_is_kd_from_that_teacher():
    student, target = torch.randn(2, 3, dtype=torch.float64), torch.tensor([1, 2])
    u = torch.tensor([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], dtype=torch.float64)
    expected = KDLoss(temperature=20.0)(student, u.log())
    torch.testing.assert_close(TeacherFreeKDLoss(correct=0.8)(student, None, target), expected)


def test_a_teacher_that_is_always_right_is_the_label():
    student = torch.tensor([[-1e4, 0.0, 1e4]], requires_grad=True)
    value = TeacherFreeKDLoss(correct=1.0)(student, None, torch.tensor([0]))
    value.backward()
    assert value.item() == pytest.approx(20 * 2e4, rel=1e-6)
    assert student.grad.isfinite().all()


def test_mixed_labels_are_refused():
    with pytest.raises(InputError, match="TeacherFreeKDLoss: expected class indices, found prob"):
        TeacherFreeKDLoss()(torch.zeros(4, 5), None, torch.full((4, 5), 0.2))


@pytest.mark.parametrize(
    ("name", "message"),
    [("temperature", "a finite number above 0"), ("correct", "a number from 0")],
)
def test_hyper_parameters_outside_their_range_are_refused(name, message):
    with pytest.raises(InputError, match=rf"TeacherFreeKDLoss.{name}: expected {message}"):
        TeacherFreeKDLoss(**{name: -1})
