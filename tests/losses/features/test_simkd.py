"""The regression of the last map, against a loop over Python floats."""

import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.losses import SimKDLoss
from tutelage.losses.features.simkd import last_map_distance


def reference(student, teacher):
    squares = [(s - t) ** 2 for s, t in zip(student, teacher, strict=True)]
    return sum(squares) / len(squares)


@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (3, 5)])
def test_equals_the_reference(shape):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=torch.float64)
    rows = zip(student.flatten(1).tolist(), teacher.flatten(1).tolist(), strict=True)
    expected = torch.tensor([reference(*row) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(last_map_distance(student, teacher), expected)
    torch.testing.assert_close(SimKDLoss()(student, teacher), expected.mean())


def test_a_known_number():
    # Two pixels, off by 1 and by 3: (1 + 9) / 2.
    student, teacher = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[0.0, 5.0]]]])
    assert SimKDLoss()(student, teacher).item() == 5


def test_a_larger_map_of_the_teacher_is_averaged_down():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 2, 3), torch.randn(2, 3, 4, 9)
    blocks = teacher.reshape(2, 3, 2, 2, 3, 3).mean((3, 5))
    torch.testing.assert_close(SimKDLoss()(student, teacher), SimKDLoss()(student, blocks))
    assert SimKDLoss()(blocks, teacher).item() < 1e-12


def test_shapes_that_do_not_fit_are_refused():
    small, large = torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 4, 4)
    with pytest.raises(ShapeError, match=r'no larger than .*found student .*via="paper"'):
        SimKDLoss()(large, small)
    with pytest.raises(ShapeError, match=r"SimKDLoss: .*found student \[2, 3, 2, 2\] vs teacher"):
        SimKDLoss(resize=False)(small, large)
    with pytest.raises(ShapeError, match=r"SimKDLoss: .*found student \[2, 3, 2, 2\] vs teacher"):
        SimKDLoss()(small, torch.zeros(2, 4, 2, 2))
