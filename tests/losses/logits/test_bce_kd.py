"""BCE with the teacher, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import BCEKDLoss, BCELoss
from tutelage.losses.logits.bce_kd import binary_teacher_cross_entropy


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def softmax(logits):
    powers = [math.exp(z - max(logits)) for z in logits]
    return [power / sum(powers) for power in powers]


def reference(student, teacher, probabilities, variant):
    """The binary cross-entropies for one row of logits."""
    p = softmax(teacher) if probabilities == "softmax" else list(map(sigmoid, teacher))
    q = list(map(sigmoid, student))
    total = -sum(a * math.log(b) + (1 - a) * math.log(1 - b) for a, b in zip(p, q, strict=True))
    return total / (len(p) if variant == "mean" else 1)


@pytest.mark.parametrize("variant", ["mean", "sum"])
@pytest.mark.parametrize("probabilities", ["softmax", "sigmoid"])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, probabilities, variant):
    torch.manual_seed(0)
    student, teacher = 2 * torch.randn(2, *shape, dtype=torch.float64)
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [reference(*row, probabilities, variant) for row in rows]
    expected = torch.tensor(values, dtype=torch.float64).view(shape[:-1])
    settings = {"probabilities": probabilities, "variant": variant}
    found = binary_teacher_cross_entropy(student, teacher, **settings)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(BCEKDLoss(**settings)(student, teacher), expected.mean())


def test_a_known_number():
    # p = [1/4, 3/4] and sigma = [3/4, 3/4]: log 4 less log 3 of a quarter, and of three quarters.
    student, teacher = (
        torch.tensor([row]) for row in ([math.log(3), math.log(3)], [0.0, math.log(3)])
    )
    value = BCEKDLoss()(student, teacher)
    assert value.item() == pytest.approx(math.log(4) - math.log(3) / 2, rel=1e-6)


@pytest.mark.parametrize("probabilities", ["softmax", "sigmoid"])
def test_the_best_student_has_the_teachers_probabilities(probabilities):
    teacher = torch.randn(4, 5, dtype=torch.float64)
    p = teacher.softmax(-1) if probabilities == "softmax" else teacher.sigmoid()
    student = p.logit().requires_grad_()
    BCEKDLoss(probabilities=probabilities)(student, teacher).backward()
    assert student.grad.abs().max() < 1e-15


def test_a_certain_teacher_is_a_label():
    student, target = torch.randn(3, 5), torch.tensor([4, 0, 2])
    teacher = torch.full((3, 5), -torch.inf).scatter(1, target[:, None], 0.0)
    expected = BCELoss()(student, None, target)
    torch.testing.assert_close(BCEKDLoss()(student, teacher), expected)


def test_dropped_positions_count_nothing():
    student, teacher, target = torch.randn(3, 5), torch.randn(3, 5), torch.tensor([1, -100, 2])
    kept = target != -100
    student[1] = teacher[1] = torch.nan
    found = BCEKDLoss()(student, teacher, target)
    torch.testing.assert_close(found, BCEKDLoss()(student[kept], teacher[kept]))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"found student \[4, 5\] vs teacher \[4, 6\]"):
        BCEKDLoss()(torch.zeros(4, 5), torch.zeros(4, 6))


@pytest.mark.parametrize("name", ["probabilities", "variant"])
def test_unknown_words_are_refused(name):
    with pytest.raises(InputError, match=rf"BCEKDLoss.{name}: expected one of .*, found 'me'"):
        BCEKDLoss(**{name: "me"})
