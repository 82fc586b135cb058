"""The divergence in pieces: the same as torch's operations, wherever those are still needed."""

import pytest
import torch
from torch.nn import functional as F

from tutelage.losses.logits import softened
from tutelage.losses.logits.softened import softened_divergence


@pytest.fixture(autouse=True)
def pieces_at_any_size(monkeypatch):
    monkeypatch.setattr(softened, "_SMALL", 1)


def by_operations(student, teacher, temperature):
    log_q = (student / temperature).log_softmax(-1)
    log_p = (teacher / temperature).log_softmax(-1)
    values = F.kl_div(log_q, log_p, log_target=True, reduction="none")
    return values.sum(-1) * temperature**2


def pair(*shape):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=torch.float64)
    return student.requires_grad_(), teacher


@pytest.mark.parametrize("piece", [1, 12, 2**18])
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 5)])
def test_pieces_of_any_size_give_value_and_gradient_of_the_operations(monkeypatch, piece, shape):
    monkeypatch.setitem(softened._PIECE, "cpu", piece)
    student, teacher = pair(*shape)
    outer = torch.rand(shape[:-1], dtype=torch.float64)
    found, expected = (
        function(student, teacher, 2.5) for function in (softened_divergence, by_operations)
    )
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, student, outer), torch.autograd.grad(expected, student, outer)
    )


def test_a_second_derivative_is_that_of_the_operations():
    student, teacher = pair(4, 5)
    hessians = []
    for function in (softened_divergence, by_operations):
        value = function(student, teacher, 2.5).square().sum()
        (gradient,) = torch.autograd.grad(value, student, create_graph=True)
        hessians.append(torch.autograd.grad(gradient.square().sum(), student))
    torch.testing.assert_close(*hessians)


def test_backward_twice_gives_the_gradient_twice():
    student, teacher = pair(4, 5)
    value = softened_divergence(student, teacher, 2.0).mean()
    value.backward(retain_graph=True)
    first = student.grad.clone()
    value.backward()
    torch.testing.assert_close(student.grad, 2 * first)


def test_transforms_of_functions_work():
    student, teacher = pair(4, 5)
    rows = torch.vmap(lambda s, t: softened_divergence(s[None], t[None], 2.0)[0])(student, teacher)
    torch.testing.assert_close(rows, by_operations(student, teacher, 2.0))
    gradient = torch.func.grad(lambda s: softened_divergence(s, teacher, 2.0).sum())(student)
    expected = torch.autograd.grad(by_operations(student, teacher, 2.0).sum(), student)[0]
    torch.testing.assert_close(gradient, expected)


def test_a_temperature_that_learns_gets_its_gradient():
    student, teacher = pair(4, 5)
    temperature = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda t: softened_divergence(student.detach(), teacher, t), temperature
    )


def test_without_a_gradient_to_give_none_is_kept():
    student, teacher = pair(4, 5)
    assert softened_divergence(student.detach(), teacher, 2.0).grad_fn is None


def test_a_ruled_out_class_costs_nothing_and_a_lost_one_costs_infinitely():
    student = torch.tensor([[0.0, 1.0, -torch.inf], [0.0, 1.0, -torch.inf]], requires_grad=True)
    teacher = torch.tensor([[0.5, 0.5, -torch.inf], [0.5, 0.5, 0.5]])
    values = softened_divergence(student, teacher, 1.0)
    assert values[0].isfinite()
    assert values[1] == torch.inf
    values[0].backward()
    assert student.grad.isfinite().all()


def test_the_gradient_of_half_precision_is_that_of_single_precision_rounded():
    student, teacher = (tensor.detach().float() for tensor in pair(6, 50))
    low = student.half().requires_grad_()
    wide = low.detach().float().requires_grad_()
    softened_divergence(low, teacher.half(), 3.0).mean().backward()
    by_operations(wide, teacher.half().float(), 3.0).mean().backward()
    torch.testing.assert_close(low.grad.float(), wide.grad, rtol=2e-3, atol=1e-6)


def test_of_many_classes_half_precision_keeps_what_a_loss_scale_makes_visible():
    student, teacher = torch.randn(2, 4, 20_000).half()
    teacher = student + 0.1 * teacher
    low, wide = (student.detach().to(d).requires_grad_() for d in (torch.float16, torch.float32))
    (softened_divergence(low, teacher, 1.0).mean() * 2**16).backward()
    (by_operations(wide, teacher.float(), 1.0).mean() * 2**16).backward()
    torch.testing.assert_close(low.grad.float(), wide.grad, rtol=2e-3, atol=1e-5)


def test_a_teacher_of_another_precision_is_taken():
    student, teacher = pair(4, 5)
    found = softened_divergence(student, teacher.float(), 2.0)
    assert found.dtype == torch.float64
    torch.testing.assert_close(
        found, by_operations(student, teacher.float(), 2.0), rtol=1e-5, atol=0
    )
    found.sum().backward()


def test_small_logits_take_the_same_value_and_gradient_by_operations(monkeypatch):
    student, teacher = pair(4, 5)
    results = []
    for small in (1, 2**13):
        monkeypatch.setattr(softened, "_SMALL", small)
        value = softened_divergence(student, teacher, 2.5)
        results.append((value, *torch.autograd.grad(value.sum(), student)))
    torch.testing.assert_close(*results)
