"""ULD, against loops over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import TokenLoss, ULDLoss
from tutelage.losses.tokens.uld import paired_answers, sorted_distance


def softmax(logits, temperature=1.0):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def reference(student, teacher, student_temperature, teacher_temperature):
    q = sorted(softmax(student, student_temperature), reverse=True)
    p = sorted(softmax(teacher, teacher_temperature), reverse=True)
    size = max(len(q), len(p))
    q, p = q + [0.0] * (size - len(q)), p + [0.0] * (size - len(p))
    return sum(abs(a - b) for a, b in zip(q, p, strict=True))


@pytest.mark.parametrize("temperatures", [(1.0, 1.0), (0.5, 3.0)])
@pytest.mark.parametrize("classes", [(5, 5), (5, 9), (9, 5)])
def test_equals_the_reference(classes, temperatures):
    torch.manual_seed(0)
    student, teacher = (torch.randn(2, 3, c, dtype=torch.float64) for c in classes)
    rows = zip(student.flatten(0, 1).tolist(), teacher.flatten(0, 1).tolist(), strict=True)
    values = [reference(*row, *temperatures) for row in rows]
    loss = ULDLoss(temperature=temperatures[0], teacher_temperature=temperatures[1])
    assert loss(student, teacher).item() == pytest.approx(sum(values) / len(values), rel=1e-12)


def test_a_known_number():
    # [3/4, 1/4] against [1/2, 3/8, 1/8]: 1/4 + 1/8 + 1/8.
    student = torch.tensor([[0.25, 0.75]]).log()
    teacher = torch.tensor([[0.375, 0.125, 0.5]]).log()
    torch.testing.assert_close(ULDLoss()(student, teacher), torch.tensor(0.5))


def test_the_names_of_the_classes_do_not_count():
    student, teacher = torch.randn(2, 4, 6, dtype=torch.float64)
    mixed = student[:, torch.randperm(6)], teacher[:, torch.randperm(6)]
    torch.testing.assert_close(ULDLoss()(*mixed), ULDLoss()(student, teacher))


def test_classes_that_a_side_rules_out_are_as_good_as_missing():
    student, teacher = torch.randn(2, 4, 6, dtype=torch.float64)
    padded = torch.cat([teacher, torch.full((4, 3), -torch.inf, dtype=torch.float64)], -1)
    torch.testing.assert_close(ULDLoss()(student, padded), ULDLoss()(student, teacher))


def test_two_certain_sides_are_equal_and_it_is_never_above_2():
    certain = torch.tensor([[0.0, 1e4, 0.0]])
    assert ULDLoss()(certain, certain[:, [1, 0]]).item() == 0
    flat = torch.zeros(1, 100_000)
    assert 1.99 < ULDLoss()(certain, flat).item() <= 2


def test_dropped_positions_count_nothing():
    student, teacher = torch.randn(3, 4, 6), torch.randn(3, 4, 9)
    target = torch.zeros(3, 4, dtype=torch.long)
    target[1] = target[0, 2] = -100
    kept = target == 0
    expected = ULDLoss()(student[kept], teacher[kept])
    student[~kept] = torch.nan
    torch.testing.assert_close(ULDLoss()(student, teacher, target), expected)


@pytest.mark.parametrize("shift", [0, 1])
def test_the_answers_of_two_tokenizers_are_paired_from_their_starts(shift):
    student, teacher = torch.randn(2, 6, 5), torch.randn(2, 9, 7)
    mine, other = torch.full((2, 6), -100), torch.full((2, 9), -100)
    mine[0, 2:5] = mine[1, 3:6] = 1  # three tokens each
    other[0, 4:9] = other[1, 1:3] = 1  # five and two
    s, t, target = paired_answers(student, teacher, mine, other, shift=shift)
    assert (target != -100).sum(1).tolist() == [3, 2]
    values = [
        sorted_distance(
            student[b, a - shift : a - shift + n], teacher[b, c - shift : c - shift + n]
        )
        for b, a, c, n in [(0, 2, 4, 3), (1, 3, 1, 2)]
    ]
    found = TokenLoss(ULDLoss(), shift=0, count=1)(s, t, target)
    torch.testing.assert_close(found, sum(value.sum() for value in values))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"found student \[2, 3\] vs teacher \[1, 4\].*paired_ans"):
        ULDLoss()(torch.zeros(2, 3), torch.zeros(1, 4))
    with pytest.raises(ShapeError, match=r"at least two classes, found \[2, 1\]"):
        ULDLoss()(torch.zeros(2, 3), torch.zeros(2, 1))
    with pytest.raises(InputError, match=r"ULDLoss.teacher_temperature: expected a finite number"):
        ULDLoss(teacher_temperature=0)
    logits, target = torch.zeros(1, 3, 4), torch.zeros(1, 2, dtype=torch.long)
    with pytest.raises(ShapeError, match=r"found \[1, 3, 4\] and \[1, 2\]; give each side its own"):
        paired_answers(logits, logits, target, target, shift=0)
