"""Hard-label distillation, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import CELoss, HardLabelLoss
from tutelage.losses.logits.hard_label import hard_label_cross_entropy


def reference(student, teacher):
    decision = teacher.index(max(teacher))
    return math.log(sum(math.exp(z - student[decision]) for z in student))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=dtype)
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    expected = torch.tensor([reference(*row) for row in rows], dtype=dtype).view(shape[:-1])
    torch.testing.assert_close(hard_label_cross_entropy(student, teacher), expected)
    torch.testing.assert_close(HardLabelLoss()(student, teacher), expected.mean())


def test_a_known_number():
    # The teacher decides for class 1, to which softmax([log 3, 0]) gives 1/4.
    student, teacher = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[0.2, 0.3]])
    torch.testing.assert_close(HardLabelLoss()(student, teacher), torch.tensor(math.log(4)))


def test_only_the_order_of_the_teacher_logits_counts():
    student, teacher = torch.randn(2, 8, 5)
    loss = HardLabelLoss()
    assert loss(student, teacher) == loss(student, 100 * teacher.exp())


def test_a_teacher_that_is_right_gives_the_cross_entropy_with_the_labels():
    student, target = torch.randn(8, 5), torch.randint(5, (8,))
    teacher = torch.nn.functional.one_hot(target, 5)
    torch.testing.assert_close(HardLabelLoss()(student, teacher), CELoss()(student, None, target))


def test_dropped_positions_count_nothing_and_none_kept_is_zero():
    student, teacher = torch.randn(2, 3, 4, 5)
    target = torch.zeros(3, 4, dtype=torch.long)
    target[0, 1] = target[2, 2] = -100
    kept, loss = target != -100, HardLabelLoss()
    torch.testing.assert_close(loss(student, teacher, target), loss(student[kept], teacher[kept]))
    assert loss(student, teacher, torch.full_like(target, -100)) == 0


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match=r"student \[4, 5\] vs teacher \[4, 6\]; both need"):
        HardLabelLoss()(torch.zeros(4, 5), torch.zeros(4, 6))


def test_a_missing_teacher_is_refused():
    with pytest.raises(
        InputError, match="expected the teacher's logits, found None; add a teacher"
    ):
        HardLabelLoss()(torch.zeros(4, 5), None)
