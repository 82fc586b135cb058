"""Similarity-preserving distillation, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import SPLoss
from tutelage.losses.relations.sp import similarity


def similar(rows):
    gram = [[sum(a * b for a, b in zip(x, y, strict=True)) for y in rows] for x in rows]
    return [[g / math.sqrt(sum(h * h for h in row)) for g in row] for row in gram]


def reference(student, teacher):
    g_s, g_t = similar(student), similar(teacher)
    batch = range(len(student))
    return sum((g_s[i][j] - g_t[i][j]) ** 2 for i in batch for j in batch) / len(student) ** 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("student", "teacher"), [((5, 3), (5, 7)), ((4, 3, 2, 5), (4, 6, 3, 3)), ((1, 4), (1, 4))]
)
def test_equals_the_reference(student, teacher, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(student, dtype=dtype), torch.randn(teacher, dtype=dtype)
    expected = reference(student.flatten(1).tolist(), teacher.flatten(1).tolist())
    torch.testing.assert_close(SPLoss()(student, teacher), torch.tensor(expected, dtype=dtype))


def test_a_known_number():
    # Orthogonal samples have the identity; equal ones have 1 / sqrt(2) everywhere.
    student, teacher = torch.eye(2), torch.ones(2, 3)
    root = 1 / math.sqrt(2)
    expected = (2 * (1 - root) ** 2 + 2 * root**2) / 4
    torch.testing.assert_close(SPLoss()(student, teacher), torch.tensor(expected))


def test_neither_scale_nor_rotation_of_the_features_counts():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    changed = SPLoss()(-3e7 * student @ rotation, 1e-9 * teacher)
    torch.testing.assert_close(changed, SPLoss()(student, teacher))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_large_features_do_not_overflow(dtype):
    torch.manual_seed(0)
    student, teacher = 30 * torch.randn(2, 8, 64, 8, 8)
    exact = SPLoss()(student.double(), teacher.double())
    low = (student * (1 if dtype == torch.float16 else 1e30)).to(dtype).requires_grad_()
    value = SPLoss()(low, teacher.to(dtype))
    value.backward()
    torch.testing.assert_close(value.double(), exact, rtol=1e-3, atol=0)
    assert low.grad.isfinite().all()


def test_a_silent_sample_is_similar_to_none_and_gets_no_gradient():
    student = torch.tensor([[1.0, 2.0], [0.0, 0.0], [2.0, 1.0]])
    assert similarity(student)[1].eq(0).all()
    student.requires_grad_()
    SPLoss()(student, torch.eye(3)).backward()
    assert student.grad.abs().max() < 10


def test_another_batch_is_refused():
    with pytest.raises(ShapeError, match=r"SPLoss: .*found student \[4, 3\] vs teacher \[1, 3\]"):
        SPLoss()(torch.zeros(4, 3), torch.zeros(1, 3))
    with pytest.raises(InputError, match="SPLoss: expected the teacher's features, found None"):
        SPLoss()(torch.zeros(4, 3), None)
