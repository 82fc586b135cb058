"""DKD, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import DataError, InputError, ShapeError
from tutelage.losses import DKDLoss, KDLoss
from tutelage.losses.logits.dkd import decoupled_divergence
from tutelage.losses.logits.lskd import standardized


def softmax(logits):
    powers = [math.exp(z - max(logits)) for z in logits]
    return [power / sum(powers) for power in powers]


def divergence(p, q):
    return sum(p_c * math.log(p_c / q_c) for p_c, q_c in zip(p, q, strict=True) if p_c)


def reference(student, teacher, y, temperature, alpha, beta, floor=0.0):
    """T^2 (alpha KL(b || b) + beta KL(p-hat || p-hat)) for one row of logits."""
    q, p = (softmax([z / temperature for z in row]) for row in (student, teacher))
    b_q, b_p = ((row[y], sum(row[:y] + row[y + 1 :])) for row in (q, p))
    b_q = [max(probability, floor) for probability in b_q]
    others = [[row[c] / b[1] for c in range(len(row)) if c != y] for row, b in ((p, b_p), (q, b_q))]
    return temperature**2 * (alpha * divergence(b_p, b_q) + beta * divergence(*others))


@pytest.mark.parametrize(
    ("temperature", "alpha", "beta"), [(4.0, 1.0, 8.0), (1.0, 0.5, 2.0), (2.0, 0.0, 1.0)]
)
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, alpha, beta):
    torch.manual_seed(0)
    student, teacher = 2 * torch.randn(2, *shape, dtype=torch.float64)
    target = torch.randint(shape[-1], shape[:-1])
    rows = (tensor.flatten(0, -2).tolist() for tensor in (student, teacher, target.unsqueeze(-1)))
    values = [
        reference(s, t, y, temperature, alpha, beta) for s, t, (y,) in zip(*rows, strict=True)
    ]
    expected = torch.tensor(values, dtype=torch.float64).view(shape[:-1])
    settings = {"temperature": temperature, "alpha": alpha, "beta": beta}
    found = decoupled_divergence(student, teacher, target, **settings)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(DKDLoss(**settings)(student, teacher, target), expected.mean())


def test_a_known_number():
    # p = [1/2, 1/8, 3/8] and q = [1/2, 1/4, 1/4], y = 0: the true class costs nothing, and
    # among the others [1/4, 3/4] meets [1/2, 1/2]: 1/4 log 1/2 + 3/4 log 3/2.
    teacher, student = (torch.tensor([row]).log() for row in ([4.0, 1.0, 3.0], [2.0, 1.0, 1.0]))
    value = DKDLoss(temperature=1.0, beta=2.0)(student, teacher, torch.tensor([0]))
    assert value.item() == pytest.approx(1.5 * math.log(3) - 2 * math.log(2), rel=1e-5)


def test_kd_is_the_weight_that_mutes_the_others():
    # Equation 6: KD = TCKD + (1 - p_y) NCKD.
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    target = torch.tensor([0, 4, 2, 2])
    on_true, among_others = (
        decoupled_divergence(student, teacher, target, temperature=3.0, alpha=a, beta=1 - a)
        for a in (1, 0)
    )
    p_y = (teacher / 3).softmax(-1).gather(-1, target[:, None]).squeeze(-1)
    kd = KDLoss(temperature=3.0)(student, teacher)
    torch.testing.assert_close((on_true + (1 - p_y) * among_others).mean(), kd)


def test_two_classes_are_plain_kd():
    student, teacher = torch.randn(2, 4, 2, dtype=torch.float64)
    value = DKDLoss(beta=123.0)(student, teacher, torch.tensor([0, 1, 1, 0]))
    torch.testing.assert_close(value, KDLoss(temperature=4.0)(student, teacher))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("who", ["student", "teacher", "both"])
@pytest.mark.parametrize("margin", [200.0, -200.0])
def test_certainty_stays_exact(margin, who, dtype):
    student, teacher = torch.tensor([[[1.0, 0.5, -0.5]], [[0.5, 1.0, 2.0]]], dtype=dtype)
    if who != "teacher":
        student[0, 1] = margin
    if who != "student":
        teacher[0, 1] = margin
    loss, target = DKDLoss(temperature=1.0), torch.tensor([1])
    exact = student.double().requires_grad_()
    expected = loss(exact, teacher.double(), target)
    expected.backward()
    found = loss(student.requires_grad_(), teacher, target)
    found.backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(student.grad.double(), exact.grad, rtol=1e-3, atol=1e-3)


def test_what_the_student_is_sure_of_wrongly_costs_its_margin():
    # b_t is [1/3, 2/3]; the student's log(1 - p_y) is -200 + log 2, its p_y is 1.
    student = torch.tensor([[200.0, 0.0, 0.0]])
    value = DKDLoss(temperature=1.0)(student, torch.zeros(1, 3), torch.tensor([0]))
    expected = 2 / 3 * (math.log(2 / 3) + 200 - math.log(2)) + 1 / 3 * math.log(1 / 3)
    assert value.item() == pytest.approx(expected, rel=1e-6)


def test_a_floor_limits_the_binary_part():
    student = torch.tensor([[30.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.zeros(1, 3, dtype=torch.float64)
    value = DKDLoss(temperature=1.0, floor=1e-7)(student, teacher, torch.tensor([0]))
    value.backward()
    assert value.item() == pytest.approx(
        2 / 3 * math.log(2 / 3 / 1e-7) + 1 / 3 * math.log(1 / 3), rel=1e-9
    )
    assert student.grad.abs().max() < 1e-7


def test_where_the_teacher_rules_out_all_others_only_the_true_class_counts():
    teacher = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    student = torch.tensor([[0.5, 1.0, 2.0]], requires_grad=True)
    value = DKDLoss(temperature=1.0)(student, teacher, torch.tensor([0]))
    value.backward()
    torch.testing.assert_close(value, -student.log_softmax(-1)[0, 0])
    assert student.grad.isfinite().all()


def test_standardised_it_sees_standardised_logits():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    target = torch.tensor([0, 4, -100, 2])
    found = DKDLoss(standardize=True)(3 * student + 1, teacher, target)
    expected = DKDLoss()(standardized(student), standardized(teacher), target)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_mixed_labels_are_refused():
    with pytest.raises(InputError, match="DKDLoss: expected class indices, found probabilities"):
        DKDLoss()(torch.zeros(4, 5), torch.zeros(4, 5), torch.full((4, 5), 0.2))


def test_labels_are_needed():
    with pytest.raises(InputError, match=r"DKDLoss: expected class targets.* use KDLoss"):
        DKDLoss()(torch.zeros(4, 5), torch.zeros(4, 5))


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(DataError, match="expected class indices from 0 to 4, found 7") as caught:
        DKDLoss()(torch.zeros(4, 5), torch.zeros(4, 5), torch.tensor([0, 7, 1, -100]))
    assert caught.value.exit_code == 3


def test_labels_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"so a target \[4\], found \[3\]"):
        DKDLoss()(torch.zeros(4, 5), torch.zeros(4, 5), torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("name", ["temperature", "alpha", "beta", "floor"])
def test_hyper_parameters_outside_their_range_are_refused(name):
    with pytest.raises(InputError, match=rf"DKDLoss.{name}: expected a .*number .*found -1"):
        DKDLoss(**{name: -1})
