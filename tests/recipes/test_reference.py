import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import TeacherError
from tutelage.recipes.reference import Remembered
from tutelage.teachers import FrozenTeacher


def test_a_remembered_teacher_is_asked_about_each_image_once() -> None:
    asked: list[int] = []
    model = nn.Linear(4, 3)
    model.register_forward_hook(lambda _, inputs, __: asked.append(len(inputs[0])))
    images, ids = torch.randn(6, 4), torch.tensor([5, 3, 9, 0, 7, 2])
    with FrozenTeacher(model) as teacher:
        expected = teacher(images).logits
        remembered = Remembered(teacher)
        first = remembered(images, ids).logits
        again = remembered(images[[4, 1]], ids[[4, 1]]).logits
    assert expected is not None
    torch.testing.assert_close(first, expected)
    torch.testing.assert_close(again, expected[[4, 1]])
    assert asked == [6, 6]


def test_without_ids_nothing_is_remembered() -> None:
    with FrozenTeacher(nn.Linear(4, 3)) as teacher:
        remembered = Remembered(teacher)
        one: Tensor | None = remembered(torch.zeros(2, 4)).logits
        other = remembered(torch.ones(2, 4)).logits
    assert one is not None
    assert other is not None
    assert not torch.equal(one, other)


def test_it_promises_no_taps() -> None:
    with (
        FrozenTeacher(nn.Linear(4, 3)) as teacher,
        pytest.raises(TeacherError, match="remembers logits only"),
    ):
        Remembered(teacher).provide(["0"])
