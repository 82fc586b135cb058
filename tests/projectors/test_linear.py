import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.projectors import LinearProjector


@pytest.mark.parametrize("leading", [(3,), (3, 5), (3, 5, 2)])
def test_the_last_axis_is_mapped_linearly(leading):
    projector, student = LinearProjector(4, 6), torch.randn(*leading, 4)
    weight, bias = projector.linear.weight, projector.linear.bias
    expected = (student[..., None, :] * weight).sum(-1) + bias
    torch.testing.assert_close(projector(student), expected)


def test_the_bias_can_be_left_out():
    assert torch.equal(LinearProjector(4, 6, bias=False)(torch.zeros(2, 4)), torch.zeros(2, 6))


@pytest.mark.parametrize("shape", [(3, 5), (4,)])
def test_another_width_is_refused(shape):
    with pytest.raises(
        ShapeError, match=r"LinearProjector: expected \[\.\.\., 4\], found .*set in_"
    ):
        LinearProjector(4, 6)(torch.zeros(shape))
