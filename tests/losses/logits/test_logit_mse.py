"""Logit regression, against a loop over Python floats."""

import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.losses import KDLoss, LogitMSELoss
from tutelage.losses.logits.logit_mse import logit_squared_error


def reference(student, teacher, centred):
    classes = len(student)
    shift = (sum(student) - sum(teacher)) / classes if centred else 0.0
    return sum((s - t - shift) ** 2 for s, t in zip(student, teacher, strict=True)) / classes


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, centred, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=dtype)
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [reference(*row, centred) for row in rows]
    expected = torch.tensor(values, dtype=dtype).view(shape[:-1])
    torch.testing.assert_close(logit_squared_error(student, teacher, centred=centred), expected)
    torch.testing.assert_close(LogitMSELoss(centred=centred)(student, teacher), expected.mean())


def test_a_known_number():
    # (1 + 9) / 2 = 5; without the row means, 1.5 and 3.5, (1 + 1) / 2 = 1.
    student, teacher = torch.tensor([[1.0, 2.0]]), torch.tensor([[2.0, 5.0]])
    assert LogitMSELoss()(student, teacher) == 5
    assert LogitMSELoss(centred=True)(student, teacher) == 1


def test_the_centred_form_does_not_see_a_constant_added_to_the_logits():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    loss = LogitMSELoss(centred=True)
    torch.testing.assert_close(loss(student + 9, teacher), loss(student, teacher))


def test_the_centred_form_is_twice_kd_at_high_temperature():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    kd = KDLoss(temperature=1e4)(student, teacher)
    centred = LogitMSELoss(centred=True)(student, teacher)
    torch.testing.assert_close(centred, 2 * kd, rtol=1e-3, atol=0)


def test_dropped_positions_count_nothing_and_none_kept_is_zero():
    student, teacher = torch.randn(2, 3, 4, 5)
    student[0, 1] = torch.inf
    target = torch.zeros(3, 4, dtype=torch.long)
    target[0, 1] = target[2, 2] = -100
    kept, loss = target != -100, LogitMSELoss()
    torch.testing.assert_close(loss(student, teacher, target), loss(student[kept], teacher[kept]))
    assert loss(student, teacher, torch.full_like(target, -100)) == 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"student \[4, 5\] vs teacher \[5\]; both need"):
        LogitMSELoss()(torch.zeros(4, 5), torch.zeros(5))
