"""Probabilistic knowledge transfer, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import PKTLoss
from tutelage.losses.relations.pkt import neighbours


def probabilities(rows, eps):
    lengths = [math.sqrt(sum(x * x for x in row)) + eps for row in rows]
    table = []
    for row, length in zip(rows, lengths, strict=True):
        kernel = [
            (sum(a * b for a, b in zip(row, other, strict=True)) / length / size + 1) / 2
            for other, size in zip(rows, lengths, strict=True)
        ]
        table.append([k / sum(kernel) for k in kernel])
    return table


def reference(student, teacher, eps):
    p_s, p_t = probabilities(student, eps), probabilities(teacher, eps)
    total = 0.0
    for row_t, row_s in zip(p_t, p_s, strict=True):
        total += sum(t * math.log((t + eps) / (s + eps)) for t, s in zip(row_t, row_s, strict=True))
    return total / len(student) ** 2


@pytest.mark.parametrize("eps", [1e-7, 1e-2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_reference(dtype, eps):
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 3, dtype=dtype), torch.randn(6, 5, dtype=dtype)
    expected = torch.tensor(reference(student.tolist(), teacher.tolist(), eps), dtype=dtype)
    torch.testing.assert_close(PKTLoss(eps=eps)(student, teacher), expected, rtol=1e-5, atol=1e-7)
    paper = PKTLoss(eps=eps, variant="paper")(student, teacher)
    torch.testing.assert_close(paper, 6 * expected, rtol=1e-5, atol=1e-7)


def test_a_known_number():
    # Right angles have a kernel of 1/2 and so rows of (2/3, 1/3); equal vectors have (1/2, 1/2).
    student, teacher = torch.ones(2, 2), torch.eye(2)
    expected = 2 / 3 * math.log(4 / 3) + 1 / 3 * math.log(2 / 3)
    torch.testing.assert_close(PKTLoss(variant="paper")(student, teacher), torch.tensor(expected))


def test_equal_vectors_cost_nothing_and_ask_for_nothing_but_what_eps_does():
    torch.manual_seed(0)
    student = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    value = PKTLoss()(student, student.detach().clone())
    value.backward()
    assert value == 0
    assert student.grad.abs().max() < 1e-7


def test_only_angles_count():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    lengths = torch.rand(6, 1, dtype=torch.float64) + 1
    changed = PKTLoss()(1e9 * student @ rotation, 1e9 * lengths * teacher)
    torch.testing.assert_close(changed, PKTLoss()(student, teacher), rtol=1e-5, atol=0)


def test_the_value_of_a_row_is_never_negative_and_opposite_vectors_stay_finite():
    student = torch.tensor([[1e-3, 0.1], [-1e-3, -0.1], [7.0, 700.0]], requires_grad=True)
    value = PKTLoss()(student, torch.eye(3))
    value.backward()
    assert value > 0
    assert student.grad.isfinite().all()
    assert neighbours(student.detach()).ge(0).all()


def test_zero_vectors_get_no_gradient():
    student = torch.tensor([[1.0, 2.0], [0.0, 0.0], [2.0, -1.0]], requires_grad=True)
    PKTLoss()(student, torch.eye(3)).backward()
    assert student.grad[1].eq(0).all()
    assert student.grad[0].ne(0).any()


def test_maps_and_tokens_are_averaged():
    student, teacher = torch.rand(2, 4, 3, 2, 5)
    tokens = [tensor.flatten(2).mT for tensor in (student, teacher)]
    vectors = [tensor.mean((2, 3)) for tensor in (student, teacher)]
    torch.testing.assert_close(PKTLoss()(student, teacher), PKTLoss()(*vectors))
    torch.testing.assert_close(PKTLoss()(*tokens), PKTLoss()(*vectors))


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match=r"PKTLoss.variant: expected one of author, paper"):
        PKTLoss(variant="mean")
    with pytest.raises(InputError, match=r"PKTLoss.eps: expected a finite number above 0"):
        PKTLoss(eps=0)
