"""Directions of hidden states, against loops over Python floats."""

import math

import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.losses import HiddenCosineLoss
from tutelage.losses.tokens.cosine import cosine_distance


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def batch():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    target = torch.zeros(3, 5, dtype=torch.long)
    target[0, 3:] = target[2, 0] = -100
    return student, teacher, target


def test_equals_the_reference():
    student, teacher, target = batch()
    rows = zip(student[target == 0].tolist(), teacher[target == 0].tolist(), strict=True)
    values = [1 - cosine(s, t) for s, t in rows]
    value = HiddenCosineLoss()(student, teacher, target)
    assert value.item() == pytest.approx(sum(values) / len(values), rel=1e-12)


def test_a_known_number():
    # [1, 0] and [3, 4] enclose an angle of cosine 3/5.
    value = HiddenCosineLoss()(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[3.0, 4.0]]]))
    torch.testing.assert_close(value, torch.tensor(0.4))


def test_the_length_of_the_states_does_not_count():
    student, teacher, target = batch()
    scaled = HiddenCosineLoss()(1e3 * student, 1e-3 * teacher, target)
    torch.testing.assert_close(scaled, HiddenCosineLoss()(student, teacher, target))


def test_nearly_parallel_states_keep_their_digits():
    # At an angle of 1e-4 it is half its square; 1 - cos of float32 would be off by a tenth.
    angle = torch.tensor(1e-4)
    student = torch.stack([angle.cos(), angle.sin()]).view(1, 1, 2)
    value = HiddenCosineLoss()(student, torch.tensor([[[1.0, 0.0]]]))
    torch.testing.assert_close(value, torch.tensor(0.5e-8), rtol=1e-4, atol=0)


def test_a_state_without_length_is_half_from_all_others():
    student = torch.zeros(1, 1, 2, requires_grad=True)
    value = HiddenCosineLoss()(student, torch.tensor([[[3.0, 4.0]]]))
    value.backward()
    torch.testing.assert_close(value.detach(), torch.tensor(0.5))
    assert student.grad.isfinite().all()


def test_padding_counts_nothing_whatever_stands_there():
    student, teacher, target = batch()
    expected = HiddenCosineLoss()(student, teacher, target)
    student[target != 0] = torch.nan
    value = HiddenCosineLoss()(student.requires_grad_(), teacher, target)
    value.backward()
    torch.testing.assert_close(value, expected)
    assert student.grad.isfinite().all()


def test_widths_must_agree():
    with pytest.raises(ShapeError, match=r"HiddenCosineLoss: .* found student \[1, 2, 3\] vs"):
        cosine_distance(torch.zeros(1, 2, 3), torch.zeros(1, 2, 4))
