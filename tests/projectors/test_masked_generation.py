import pytest
import torch
from torch import nn

from tutelage.errors import InputError, ShapeError
from tutelage.projectors.masked_generation import MaskedGeneration


def by_hand(projector, maps, mask):
    hidden = projector.align(maps) * mask
    return nn.Sequential(projector.conv1, nn.ReLU(), projector.conv2)(hidden)


@pytest.mark.parametrize("shape", [(2, 1, 5, 5), (2, 6, 1, 1)])
def test_the_masked_map_is_filled_in(shape):
    projector, maps = MaskedGeneration(4, 6), torch.randn(2, 4, 5, 5)
    mask = torch.randint(2, shape).float()
    torch.testing.assert_close(projector(maps, mask), by_hand(projector, maps, mask))


@pytest.mark.parametrize("over", ["pixels", "channels"])
@pytest.mark.parametrize("ratio", [0, 0.3, 1])
def test_the_ratio_is_hidden_while_training(ratio, over):
    torch.manual_seed(0)
    projector = MaskedGeneration(8, 8, over=over, ratio=ratio)
    seen = []
    projector.conv1.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    projector(torch.ones(50, 8, 6, 6))
    hidden = seen[0] == 0
    assert abs(hidden.float().mean().item() - ratio) < 0.05
    first = hidden[:, :1] if over == "pixels" else hidden[:, :, :1, :1]
    assert (hidden == first).all()
    if 0 < ratio < 1:
        assert hidden.flatten(1).unique(dim=0).shape[0] > 10


def test_masks_are_drawn_from_the_global_generator_and_in_training_only():
    projector, maps = MaskedGeneration(4, 6), torch.randn(2, 4, 5, 5)
    torch.manual_seed(1)
    first, other = projector(maps), projector(maps)
    torch.manual_seed(1)
    assert (projector(maps) == first).all()
    assert (first != other).any()
    whole = by_hand(projector, maps, torch.ones(2, 1, 5, 5))
    torch.testing.assert_close(projector.eval()(maps), whole)


@pytest.mark.parametrize("teacher", [(2, 6, 3, 3), (2, 6, 2, 5), (2, 3, 3, 3)])
def test_it_reads_its_widths_and_sizes_off_two_maps(teacher):
    student = torch.randn(2, 3, 3, 3)
    projector = MaskedGeneration.between(student, torch.zeros(teacher), ratio=0.2)
    assert projector(student).shape == teacher
    assert isinstance(projector.align, nn.Identity) == (teacher[1] == 3)
    assert "ratio=0.2" in repr(projector)


def test_a_step_moves_it_and_its_state_goes_round():
    torch.manual_seed(0)
    projector, student = MaskedGeneration(4, 6, ratio=0.5), torch.randn(2, 4, 3, 3)
    before = [p.detach().clone() for p in projector.parameters()]
    projector(student).square().sum().backward()
    torch.optim.SGD(projector.parameters(), lr=0.1).step()
    after = list(projector.parameters())
    assert all((b != a).any() for b, a in zip(before, after, strict=True))
    twin = MaskedGeneration(4, 6)
    twin.load_state_dict(projector.state_dict())
    torch.testing.assert_close(twin.eval()(student), projector.eval()(student))


def test_what_it_cannot_take_is_refused():
    with pytest.raises(ShapeError, match=r"MaskedGeneration: expected \[B, 4, H, W\], found"):
        MaskedGeneration(4, 6)(torch.zeros(2, 9, 4))
    with pytest.raises(ShapeError, match=r"a mask \[2, 1, 3, 3\] or \[2, 6, 1, 1\], found \[2, 4"):
        MaskedGeneration(4, 6)(torch.zeros(2, 4, 3, 3), torch.ones(2, 4, 1, 1))
    with pytest.raises(ShapeError, match=r"expected equal channels without align, found 4 vs 6"):
        MaskedGeneration(4, 6, align=False)
    with pytest.raises(InputError, match=r"MaskedGeneration.ratio: expected a number from 0 to 1"):
        MaskedGeneration(4, 6, ratio=1.5)
    with pytest.raises(InputError, match=r"MaskedGeneration.over: expected one of pixels, chan"):
        MaskedGeneration(4, 6, over="rows")
