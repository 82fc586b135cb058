"""Margin MSE, against loops over Python floats."""

import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.losses import LogitMSELoss, MarginMSELoss


def reference(student, teacher):
    missing = [
        (student[0] - s) - (teacher[0] - t) for s, t in zip(student[1:], teacher[1:], strict=True)
    ]
    return sum(m * m for m in missing) / len(missing)


@pytest.mark.parametrize("documents", [2, 5])
def test_equals_the_reference(documents):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, documents, dtype=torch.float64)
    values = [reference(*row) for row in zip(student.tolist(), teacher.tolist(), strict=True)]
    value = MarginMSELoss()(student, teacher)
    assert value.item() == pytest.approx(sum(values) / 4, rel=1e-12)


def test_a_known_number():
    # Margins 2 and 3 of the student, 1 and 5 of the teacher: (1 + 4) / 2.
    value = MarginMSELoss()(torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[9.0, 8.0, 4.0]]))
    assert value.item() == 2.5


def test_a_constant_on_the_scores_of_a_query_does_not_count():
    student, teacher = torch.randn(2, 4, 3, dtype=torch.float64)
    shifted = MarginMSELoss()(student + torch.arange(4)[:, None], teacher - 7)
    torch.testing.assert_close(shifted, MarginMSELoss()(student, teacher))


def test_of_two_documents_it_is_four_times_the_centred_squared_error():
    student, teacher = torch.randn(2, 4, 2, dtype=torch.float64)
    centred = LogitMSELoss(centred=True)(student, teacher)
    torch.testing.assert_close(MarginMSELoss()(student, teacher), 4 * centred)


def test_margins_alone_are_enough():
    student, teacher = torch.randn(2, 4, 3, dtype=torch.float64)
    margins = teacher - teacher[:, :1]
    torch.testing.assert_close(MarginMSELoss()(student, margins), MarginMSELoss()(student, teacher))


def test_dropped_queries_count_nothing():
    student, teacher = torch.randn(2, 3, 4)
    expected = MarginMSELoss()(student[1:], teacher[1:])
    student[0] = torch.inf
    value = MarginMSELoss()(student.requires_grad_(), teacher, torch.tensor([-100, 0, 0]))
    value.backward()
    torch.testing.assert_close(value, expected)
    assert student.grad.isfinite().all()


def test_scores_of_other_documents_are_refused():
    with pytest.raises(ShapeError, match=r"found student \[4, 3\] vs teacher \[4, 2\].*same docu"):
        MarginMSELoss()(torch.zeros(4, 3), torch.zeros(4, 2))
