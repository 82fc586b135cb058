import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.projectors import TokensToMap


def test_patches_are_laid_out_row_by_row_after_the_prefix():
    projector, tokens = TokensToMap(4, 6, (2, 3), prefix_tokens=2), torch.randn(5, 8, 4)
    out = projector(tokens)
    assert out.shape == (5, 6, 2, 3)
    weight, bias = projector.conv.weight[:, :, 0, 0], projector.conv.bias
    for row in range(2):
        for column in range(3):
            expected = tokens[:, 2 + row * 3 + column] @ weight.T + bias
            torch.testing.assert_close(out[:, :, row, column], expected)


@pytest.mark.parametrize("out_size", [(2, 2), (8, 8), (2, 8)])
def test_the_map_may_have_another_size(out_size):
    projector = TokensToMap(4, 6, (4, 4), out_size=out_size)
    assert projector(torch.randn(5, 16, 4)).shape == (5, 6, *out_size)


def test_another_count_of_tokens_is_refused():
    with pytest.raises(ShapeError, match=r"expected \[B, 16, 4\] \(0 prefix .*found \[5, 17, 4\]"):
        TokensToMap(4, 6, (4, 4))(torch.zeros(5, 17, 4))


def test_a_negative_prefix_is_refused():
    with pytest.raises(InputError, match=r"prefix_tokens: expected at least 0, found -1"):
        TokensToMap(4, 6, (4, 4), prefix_tokens=-1)
