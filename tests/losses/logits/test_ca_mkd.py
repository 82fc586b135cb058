"""Several teachers by their confidence, against loops over Python floats."""

import math

import pytest
import torch
from torch.nn import functional as F

from tutelage.errors import DataError, InputError, ShapeError
from tutelage.losses import CAMKDLoss, KDLoss
from tutelage.losses.logits.ca_mkd import confidence_weights


def softened(logits, temperature=1.0):
    exponentials = [math.exp(z / temperature) for z in logits]
    return [e / sum(exponentials) for e in exponentials]


def reference(student, teachers, label, temperature):
    """sum_m w_m T^2 KL(p_m || q) for one row, w_m = (1 - e^H_m / sum e^H) / (M - 1)."""
    errors = [1 / softened(teacher)[label] for teacher in teachers]  # e^H
    q, total = softened(student, temperature), 0.0
    for teacher, error in zip(teachers, errors, strict=True):
        weight = (1 - error / sum(errors)) / (len(teachers) - 1)
        p = softened(teacher, temperature)
        divergence = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        total += weight * temperature**2 * divergence
    return total


def drawn(members, *shape, classes=5):
    student, *teachers = torch.randn(members + 1, *shape, classes, dtype=torch.float64)
    return [student] * members, teachers, torch.randint(classes, shape)


@pytest.mark.parametrize("members", [2, 3, 5])
@pytest.mark.parametrize("shape", [(6,), (1,), (3, 4)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_equals_the_reference(members, shape, temperature):
    students, teachers, target = drawn(members, *shape)
    rows = zip(
        students[0].flatten(0, -2).tolist(),
        torch.stack(teachers, -2).flatten(0, -3).tolist(),
        target.flatten().tolist(),
        strict=True,
    )
    expected = [reference(*row, temperature) for row in rows]
    mean = sum(expected) / len(expected)
    found = CAMKDLoss(temperature=temperature)(students, teachers, target)
    assert found.item() == pytest.approx(mean, rel=1e-10)
    found = CAMKDLoss(temperature=temperature, variant="author")(students, teachers, target)
    assert found.item() == pytest.approx(mean / members, rel=1e-10)


def test_known_weights():
    # Probabilities of the label 1/2, 1/4 and 1/4: e^H is 2, 4, 4, so w = (8, 6, 6) / 10 / 2.
    teachers = [torch.tensor([[p, 1 - p]]).log() for p in (0.5, 0.25, 0.25)]
    found = confidence_weights(teachers, torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[0.4], [0.3], [0.3]]))


def test_the_weights_sum_to_one_and_favour_who_is_right():
    target = torch.randint(5, (8,))
    good, poor = 3 * F.one_hot(target, 5).double(), torch.randn(8, 5, dtype=torch.float64)
    weights = confidence_weights([good, poor, -good], target)
    torch.testing.assert_close(weights.sum(0), torch.ones(8, dtype=torch.float64))
    assert (weights[0] > weights[2]).all()
    assert (weights <= 0.5).all()


def test_one_teacher_or_many_equal_ones_are_kd():
    (student,), (teacher,), target = drawn(1, 6)
    expected = KDLoss(temperature=4.0)(student, teacher)
    for members in (1, 4):
        found = CAMKDLoss()([student] * members, [teacher] * members, target)
        torch.testing.assert_close(found, expected)


def test_soft_labels_that_are_one_hot_equal_class_indices():
    students, teachers, target = drawn(3, 6)
    soft = F.one_hot(target, 5).double()
    loss = CAMKDLoss()
    torch.testing.assert_close(loss(students, teachers, soft), loss(students, teachers, target))


def test_a_teacher_that_rules_the_label_out_does_not_count():
    (student, _), (good, bad), target = drawn(2, 6)
    bad[range(6), target] = -torch.inf
    student.requires_grad_()
    value = CAMKDLoss()([student, student], [good, bad], target)
    value.backward()
    torch.testing.assert_close(value, KDLoss(temperature=4.0)(student, good))
    assert student.grad.isfinite().all()
    weights = confidence_weights([bad, bad], target)
    torch.testing.assert_close(weights, torch.full_like(weights, 0.5))


def test_what_does_not_fit_is_refused():
    students, teachers, target = drawn(2, 6)
    loss = CAMKDLoss()
    with pytest.raises(InputError, match=r"found 1 and 2; name every teacher, at=\["):
        loss(students[:1], teachers, target)
    with pytest.raises(InputError, match="found 0 and 0"):
        loss([], [], target)
    with pytest.raises(ShapeError, match=r"found student \[6, 5\] vs teacher \[1, 5\]"):
        loss(students, [teachers[0], teachers[1][:1]], target)
    with pytest.raises(InputError, match="CAMKDLoss: expected the target, found None"):
        loss(students, teachers)
    with pytest.raises(InputError, match="CAMKDLoss: expected the logits of each teacher"):
        loss(students, None, target)
    with pytest.raises(DataError, match="found label 5"):
        loss(students, teachers, torch.full((6,), 5))
    with pytest.raises(InputError, match=r"CAMKDLoss.variant: expected one of paper, author"):
        CAMKDLoss(variant="mean")
    with pytest.raises(InputError, match=r"CAMKDLoss.temperature: expected a finite number above"):
        CAMKDLoss(temperature=-1.0)
