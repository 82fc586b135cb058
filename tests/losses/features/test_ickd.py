"""Correlation of channels, against loops over them."""

import math

import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.losses import ICKDLoss
from tutelage.losses.features.ickd import correlation_distance


def rows(channels):
    gram = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in channels] for a in channels]
    return [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in gram]


def reference(student, teacher):
    pairs = zip(rows(student), rows(teacher), strict=True)
    squares = [(s - t) ** 2 for pair in pairs for s, t in zip(*pair, strict=True)]
    return sum(squares) / len(student)


@pytest.mark.parametrize("size", [(3, 5), (2, 2)])
def test_equals_the_reference(size):
    torch.manual_seed(0)
    student = torch.randn(3, 6, *size, dtype=torch.float64)
    teacher = torch.randn(3, 6, 4, 4, dtype=torch.float64)
    pairs = zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True)
    expected = torch.tensor([reference(*pair) for pair in pairs], dtype=torch.float64)
    torch.testing.assert_close(correlation_distance(student, teacher), expected)
    torch.testing.assert_close(ICKDLoss()(student, teacher), expected.mean())
    torch.testing.assert_close(ICKDLoss(variant="mean")(student, teacher), expected.mean() / 6)
    tokens = (student.flatten(2).mT, teacher.flatten(2).mT)
    torch.testing.assert_close(ICKDLoss()(*tokens), expected.mean())


def test_a_known_number():
    # Rows [1, 0] and [0, 1] against [0.6, 0.8] twice: (0.16 + 0.64 + 0.36 + 0.04) / 2.
    student = torch.eye(2).view(1, 2, 1, 2)
    teacher = torch.tensor([[3.0, 0.0], [4.0, 0.0]]).view(1, 2, 1, 2)
    torch.testing.assert_close(ICKDLoss()(student, teacher), torch.tensor(0.6))


def test_neither_scale_nor_a_rotation_of_the_positions_counts():
    student, teacher = torch.randn(2, 3, 4, 6, dtype=torch.float64).unsqueeze(-1)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))
    turned = 1e5 * (student.squeeze(-1) @ rotation).unsqueeze(-1)
    loss = ICKDLoss()
    torch.testing.assert_close(loss(turned, teacher), loss(student, teacher))


def test_dead_channels_have_gradients_like_the_others():
    student = torch.randn(2, 4, 3, 3)
    student[:, 1] = 0
    student.requires_grad_()
    value = ICKDLoss()(student, torch.randn(2, 4, 3, 3))
    value.backward()
    assert student.grad.abs().max() < 100


def test_other_channels_are_refused():
    with pytest.raises(ShapeError, match=r"ICKDLoss: .*same channels, found .*; add via=.auto"):
        ICKDLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))


def test_huge_features_do_not_vanish():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 2, 3, 4, 4)
    for scale in (1e5, 1e15):
        torch.testing.assert_close(
            ICKDLoss()(student * scale, teacher * scale), ICKDLoss()(student, teacher)
        )
