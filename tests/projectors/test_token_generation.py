import pytest
import torch
from torch import nn

from tutelage.errors import InputError, ShapeError
from tutelage.projectors.token_generation import TokenGeneration


def test_shallow_layers_are_aligned_and_the_last_is_filled_in():
    torch.manual_seed(0)
    projector = TokenGeneration(4, 6, layers=3, ratio=0.5, prefix_tokens=1)
    nn.init.normal_(projector.mask_token)
    student = list(torch.randn(3, 2, 10, 4))
    mask = torch.randint(2, (2, 9))
    first, second, last, weight = projector(student, mask)
    aligned = [
        tokens @ align.weight.T + align.bias
        for tokens, align in zip(student, projector.align, strict=True)
    ]
    torch.testing.assert_close([first, second], aligned[:2])
    grid = torch.zeros(2, 6, 3, 3)
    for b in range(2):
        for n in range(9):
            token = projector.mask_token[0, 0] if mask[b, n] else aligned[2][b, 1 + n]
            grid[b, :, n // 3, n % 3] = token
    filled = nn.Sequential(projector.conv1, nn.ReLU(), projector.conv2)(grid)
    for n in range(9):
        torch.testing.assert_close(last[:, 1 + n], filled[:, :, n // 3, n % 3])
    torch.testing.assert_close(last[:, 0], aligned[2][:, 0])
    torch.testing.assert_close(weight[:, 1:], 2.0 * mask)
    assert weight[:, 0].eq(0).all()


@pytest.mark.parametrize(("ratio", "hidden"), [(0.5, 13), (0.2, 5), (1.0, 25)])
def test_as_many_patches_of_each_sample_are_hidden_while_training(ratio, hidden):
    projector, student = TokenGeneration(4, 4, ratio=ratio), list(torch.randn(3, 20, 25, 4))
    torch.manual_seed(1)
    weight = projector(student)[-1]
    assert weight.gt(0).sum(1).eq(hidden).all()
    torch.testing.assert_close(weight.max().item(), 1 / ratio, rtol=1e-6, atol=0)
    if ratio < 1:
        assert weight.unique(dim=0).shape[0] > 10
    torch.manual_seed(1)
    assert (projector(student)[-1] == weight).all()


def test_in_eval_mode_nothing_is_hidden_and_every_patch_counts_once():
    projector = TokenGeneration(4, 4, prefix_tokens=2).eval()
    student = list(torch.randn(3, 2, 11, 4))
    weight = projector(student)[-1]
    assert weight[:, :2].eq(0).all()
    assert weight[:, 2:].eq(1).all()
    torch.testing.assert_close(
        projector(student), [*projector(student, torch.zeros(2, 9))[:3], weight]
    )


@pytest.mark.parametrize(("count", "prefix"), [(196, 0), (197, 1), (198, 2), (201, 5), (16, 0)])
def test_it_reads_its_widths_and_its_prefix_off_the_tokens(count, prefix):
    student, teacher = list(torch.zeros(2, 1, count, 4)), list(torch.zeros(2, 1, count, 6))
    projector = TokenGeneration.between(student, teacher, ratio=0.25)
    assert projector.prefix_tokens == prefix
    assert [tokens.shape for tokens in projector(student)[:2]] == [(1, count, 6)] * 2
    assert f"ratio=0.25, prefix_tokens={prefix}" in repr(projector)


def test_equal_widths_are_not_aligned():
    tokens = list(torch.randn(2, 1, 4, 6))
    assert TokenGeneration.between(tokens, tokens)(tokens)[0] is tokens[0]


def test_its_state_goes_round():
    first, second = (TokenGeneration(4, 6, layers=2).eval() for _ in range(2))
    nn.init.normal_(first.mask_token)
    second.load_state_dict(first.state_dict())
    student = list(torch.randn(2, 2, 9, 4))
    torch.testing.assert_close(second(student), first(student))


def test_what_it_cannot_take_is_refused():
    tokens = torch.zeros(2, 10, 4)
    with pytest.raises(ShapeError, match=r"TokenGeneration: expected 3 layers, found 2"):
        TokenGeneration(4, 6)([tokens, tokens])
    with pytest.raises(ShapeError, match=r"expected \[B, N, 5\], found \[2, 10, 4\]"):
        TokenGeneration(5, 6)([tokens] * 3)
    with pytest.raises(ShapeError, match=r"0 prefix tokens and patches that fill a square grid"):
        TokenGeneration(4, 6)([tokens] * 3)
    with pytest.raises(ShapeError, match=r"as many tokens .*found student \[2, 10, 4\] vs teacher"):
        TokenGeneration.between([tokens], [tokens[:, 1:]])
    with pytest.raises(InputError, match=r"TokenGeneration.layers: expected at least 2, found 1"):
        TokenGeneration(4, 6, layers=1)
    with pytest.raises(InputError, match=r"TokenGeneration.prefix_tokens: expected at least 0"):
        TokenGeneration(4, 6, prefix_tokens=-1)
    for ratio in (0, 2):
        with pytest.raises(InputError, match=r"TokenGeneration.ratio: expected a"):
            TokenGeneration(4, 6, ratio=ratio)
