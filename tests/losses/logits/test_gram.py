"""Gram matrices of predictions, against loops over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import BatchGramLoss, ClassGramLoss
from tutelage.losses.logits.gram import batch_gram_difference, class_gram_difference

BOTH = pytest.mark.parametrize("kind", [ClassGramLoss, BatchGramLoss])


def softened(rows, temperature):
    found = []
    for row in rows:
        exponentials = [math.exp(z / temperature) for z in row]
        found.append([e / sum(exponentials) for e in exponentials])
    return found


def reference(student, teacher, temperature, by_class):
    """sum (G_t - G_s)^2 / n, G the products of all pairs of columns or of rows, n their number."""
    s, t = softened(student, temperature), softened(teacher, temperature)
    if by_class:
        s, t = list(zip(*s, strict=True)), list(zip(*t, strict=True))
    total = 0.0
    for i in range(len(s)):
        for j in range(len(s)):
            g_s = sum(a * b for a, b in zip(s[i], s[j], strict=True))
            g_t = sum(a * b for a, b in zip(t[i], t[j], strict=True))
            total += (g_t - g_s) ** 2
    return total / len(s)


@BOTH
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 40), (2, 3, 4)])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_equals_the_reference(kind, shape, temperature):
    student, teacher = 3 * torch.randn(2, *shape, dtype=torch.float64)
    rows = (logits.flatten(0, -2).tolist() for logits in (student, teacher))
    expected = reference(*rows, temperature, by_class=kind is ClassGramLoss)
    found = kind(temperature=temperature)(student, teacher)
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_a_known_number():
    # P_s = 1/2 everywhere, P_t = the identity. Classes: G_s = 1/2 everywhere, G_t the identity,
    # so 4 * 1/4 / 2. Samples: the same two matrices.
    p_s, p_t = torch.full((2, 2), 0.5), torch.eye(2)
    assert class_gram_difference(p_s, p_t).item() == 0.5
    assert batch_gram_difference(p_s, p_t).item() == 0.5
    # A third sample of the first class: G_t = diag(2, 1), G_s = 3/4: (25 + 9 + 9 + 1) / 16 / 2.
    p_s, p_t = torch.full((3, 2), 0.5), torch.eye(2)[[0, 1, 0]]
    assert class_gram_difference(p_s, p_t).item() == 1.375
    # All nine products differ by 1/2: 9 * 1/4 / 3.
    assert batch_gram_difference(p_s, p_t).item() == 0.75


def test_relations_stay_where_classes_are_renamed_together():
    # The batch level sees no names of classes, the class level none of samples.
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    batch, classes = BatchGramLoss(), ClassGramLoss()
    order = torch.tensor([3, 1, 4, 0, 2])
    assert batch(student, student[:, order]).item() == pytest.approx(0, abs=1e-20)
    assert classes(student, student[[5, 0, 1, 2, 3, 4]]).item() == pytest.approx(0, abs=1e-20)
    torch.testing.assert_close(
        classes(student[:, order], teacher[:, order]), classes(student, teacher)
    )


def test_how_the_values_grow_with_the_batch():
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    twice = student.repeat(2, 1), teacher.repeat(2, 1)
    torch.testing.assert_close(ClassGramLoss()(*twice), 4 * ClassGramLoss()(student, teacher))
    torch.testing.assert_close(BatchGramLoss()(*twice), 2 * BatchGramLoss()(student, teacher))


@BOTH
def test_dropped_positions_are_as_if_they_were_not_there(kind):
    student, teacher = torch.randn(2, 6, 5)
    target = torch.tensor([0, -100, 1, 2, -100, 3])
    kept = target != -100
    expected = kind()(student[kept], teacher[kept])
    student[1], teacher[4] = torch.nan, torch.nan
    student.requires_grad_()
    value = kind()(student, teacher, target)
    value.backward()
    torch.testing.assert_close(value, expected)
    assert student.grad.isfinite().all()


@BOTH
def test_a_batch_without_kept_positions_is_zero_with_its_graph(kind):
    student = torch.randn(4, 5, requires_grad=True)
    value = kind()(student, torch.randn(4, 5), torch.full((4,), -100))
    value.backward()
    assert value.item() == 0
    assert student.grad.eq(0).all()


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_certain_predictions_stay_finite(kind, dtype):
    student = (1e4 * torch.eye(4, 5, dtype=dtype)).requires_grad_()
    value = kind()(student, -student.detach())
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


@BOTH
def test_what_does_not_fit_is_refused(kind):
    who = kind.__name__
    with pytest.raises(ShapeError, match=rf"{who}: .* student \[4, 5\] vs teacher \[1, 5\]"):
        kind()(torch.zeros(4, 5), torch.zeros(1, 5))
    with pytest.raises(ShapeError, match=f"{who}: expected logits .* at least two classes"):
        kind()(torch.zeros(4, 1), torch.zeros(4, 1))
    with pytest.raises(InputError, match=f"{who}: expected the teacher's logits, found None"):
        kind()(torch.zeros(4, 2), None)
    with pytest.raises(InputError, match=f"{who}.temperature: expected a finite number above 0"):
        kind(temperature=0)
