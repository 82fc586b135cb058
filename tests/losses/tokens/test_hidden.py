"""Regression of hidden states, against loops over Python floats."""

import pytest
import torch

from tutelage import Objective, Term
from tutelage.errors import InputError, ShapeError
from tutelage.losses import HiddenMSELoss, HintLoss
from tutelage.signals import Signals


def states():
    torch.manual_seed(0)
    return torch.randn(2, 3, 5, 4, dtype=torch.float64)


def target():
    found = torch.zeros(3, 5, dtype=torch.long)
    found[0, 2:] = found[1] = -100
    return found


def reference(student, teacher, kept):
    rows = zip(student.flatten(0, 1).tolist(), teacher.flatten(0, 1).tolist(), kept, strict=True)
    values = [
        sum((a - b) ** 2 for a, b in zip(s, t, strict=True)) / len(s) for s, t, keep in rows if keep
    ]
    return sum(values) / len(values)


def test_equals_the_reference():
    student, teacher = states()
    kept = (target() != -100).flatten().tolist()
    value = HiddenMSELoss()(student, teacher, target())
    assert value.item() == pytest.approx(reference(student, teacher, kept), rel=1e-12)


def test_a_known_number():
    # One token of [3, 1] against 0, another one dropped: (9 + 1) / 2.
    student = torch.tensor([[[3.0, 1.0], [100.0, 100.0]]])
    value = HiddenMSELoss()(student, torch.zeros(1, 2, 2), torch.tensor([[7, -100]]))
    assert value.item() == 5


def test_without_a_mask_it_is_the_hint():
    student, teacher = states()
    expected = HintLoss()(student, teacher)
    torch.testing.assert_close(HiddenMSELoss()(student, teacher), expected)
    # Classes of the samples, and soft targets, are no mask of tokens.
    for other in (torch.tensor([1, -100, 2]), torch.full((3, 5), -100.0)):
        torch.testing.assert_close(HiddenMSELoss()(student, teacher, other), expected)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_padding_counts_nothing_whatever_stands_there(bad):
    student, teacher = states()
    expected = HiddenMSELoss()(student, teacher, target())
    student[target() == -100] = teacher[target() == -100] = bad
    value = HiddenMSELoss()(student.requires_grad_(), teacher, target())
    value.backward()
    torch.testing.assert_close(value, expected)
    assert student.grad[target() == -100].eq(0).all()
    assert student.grad.isfinite().all()


def test_a_batch_of_padding_is_zero_with_its_graph():
    student, teacher = states()
    value = HiddenMSELoss(ignore_index=1)(
        student.requires_grad_(), teacher, torch.ones(3, 5, dtype=torch.long)
    )
    value.backward()
    assert value.item() == 0
    assert student.grad.eq(0).all()


def test_a_term_hands_it_the_target():
    student, teacher = states()
    objective = Objective([Term(HiddenMSELoss(), at="layer")])
    signals = (Signals(None, {"layer": tensor}) for tensor in (student, teacher))
    value, _ = objective(*signals, target())
    torch.testing.assert_close(value, HiddenMSELoss()(student, teacher, target()))


def test_what_does_not_fit_is_refused():
    student, teacher = states()
    with pytest.raises(ShapeError, match=r"found student \[3, 5, 4\] vs teacher \[3, 5, 2\]; add"):
        HiddenMSELoss()(student, teacher[..., :2])
    with pytest.raises(ShapeError, match=r"expected hidden states \[B, N, D\], found student"):
        HiddenMSELoss()(student[0], teacher[0])
    with pytest.raises(InputError, match="expected the teacher's states, found None"):
        HiddenMSELoss()(student, None)
