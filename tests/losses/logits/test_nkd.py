"""NKD, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import DKDLoss, NKDLoss
from tutelage.losses.logits.nkd import normalized_cross_entropy


def softmax(logits, temperature=1.0):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def reference(student, teacher, y, temperature, gamma):
    """The target term at T = 1 and the normalised others at T, for one row of logits."""
    on_true = -softmax(teacher)[y] * math.log(softmax(student)[y])
    q, p = (softmax(row[:y] + row[y + 1 :], temperature) for row in (student, teacher))
    others = -sum(p_c * math.log(q_c) for p_c, q_c in zip(p, q, strict=True))
    return on_true + gamma * temperature**2 * others


@pytest.mark.parametrize(("temperature", "gamma"), [(1.0, 1.5), (3.0, 1.0), (0.5, 0.0)])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, gamma):
    torch.manual_seed(0)
    student, teacher = 2 * torch.randn(2, *shape, dtype=torch.float64)
    target = torch.randint(shape[-1], shape[:-1])
    rows = (tensor.flatten(0, -2).tolist() for tensor in (student, teacher, target.unsqueeze(-1)))
    values = [reference(s, t, y, temperature, gamma) for s, t, (y,) in zip(*rows, strict=True)]
    expected = torch.tensor(values, dtype=torch.float64).view(shape[:-1])
    settings = {"temperature": temperature, "gamma": gamma}
    found = normalized_cross_entropy(student, teacher, target, **settings)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(NKDLoss(**settings)(student, teacher, target), expected.mean())


def test_a_known_number():
    # p_y = 1/2 and q_y = 1/4 give 1/2 log 4; the others are [1/4, 3/4] against [1/2, 1/2].
    teacher = torch.tensor([[4.0, 1.0, 3.0]]).log()
    student = torch.tensor([[2.0, 3.0, 3.0]]).log()
    value = NKDLoss(gamma=2.0)(student, teacher, torch.tensor([0]))
    assert value.item() == pytest.approx(3 * math.log(2), rel=1e-5)


def test_among_the_others_its_gradient_is_that_of_dkd():
    # They differ by the teacher's entropy, a constant; the target term is undone by hand.
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    target = torch.tensor([0, 4, 2, 2])
    student.requires_grad_()

    def gradient(loss):
        return torch.autograd.grad(loss(student, teacher, target), student)[0]

    others = gradient(NKDLoss(temperature=2.0, gamma=3.0)) - gradient(NKDLoss(gamma=0.0))
    expected = gradient(DKDLoss(temperature=2.0, alpha=0.0, beta=3.0))
    torch.testing.assert_close(others, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("margin", [200.0, -200.0])
def test_certainty_stays_exact(margin, dtype):
    student, teacher = torch.tensor([[[1.0, margin, -0.5]], [[0.5, 1.0, 2.0]]], dtype=dtype)
    loss, target = NKDLoss(), torch.tensor([1])
    exact = student.double().requires_grad_()
    expected = loss(exact, teacher.double(), target)
    expected.backward()
    found = loss(student.requires_grad_(), teacher, target)
    found.backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(student.grad.double(), exact.grad, rtol=1e-3, atol=1e-3)


def test_where_the_teacher_rules_out_all_others_only_the_true_class_counts():
    teacher = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    student = torch.tensor([[0.5, 1.0, 2.0]], requires_grad=True)
    value = NKDLoss()(student, teacher, torch.tensor([0]))
    value.backward()
    torch.testing.assert_close(value, -student.log_softmax(-1)[0, 0])
    assert student.grad.isfinite().all()


def test_mixed_labels_are_refused():
    with pytest.raises(InputError, match="NKDLoss: expected class indices, found probabilities"):
        NKDLoss()(torch.zeros(4, 5), torch.zeros(4, 5), torch.full((4, 5), 0.2))


@pytest.mark.parametrize("name", ["temperature", "gamma"])
def test_hyper_parameters_outside_their_range_are_refused(name):
    with pytest.raises(InputError, match=rf"NKDLoss.{name}: expected a finite number .*found -1"):
        NKDLoss(**{name: -1})
