import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.projectors.bottleneck import BottleneckProjector


def by_hand(projector, maps):
    for i in (1, 2, 3):
        conv = getattr(projector, f"conv{i}")
        maps = torch.nn.functional.conv2d(maps, conv.weight, padding=conv.weight.shape[2] // 2)
        mean, variance = maps.mean((0, 2, 3)), maps.var((0, 2, 3), unbiased=False)
        maps = (maps - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        maps = maps.clamp(min=0)
    return maps


@pytest.mark.parametrize(("factor", "width"), [(2, 3), (3, 2), (100, 1), (1.5, 4)])
def test_three_convolutions_through_a_narrower_map(factor, width):
    projector, maps = BottleneckProjector(4, 6, factor=factor), torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(projector(maps), by_hand(projector, maps))
    assert projector.conv2.weight.shape == (width, width, 3, 3)


def test_it_has_as_many_parameters_as_it_says():
    c, d, f = 4, 6, 2
    count = sum(p.numel() for p in BottleneckProjector(c, d, factor=f).parameters())
    assert count == c * d // f + 9 * (d // f) ** 2 + d * d // f + 4 * d // f + 2 * d


@pytest.mark.parametrize(
    ("teacher", "size"), [((3, 3), (3, 3)), ((2, 2), (2, 2)), ((6, 6), (3, 3)), ((2, 6), (2, 3))]
)
def test_it_meets_the_smaller_of_the_two_maps(teacher, size):
    student = torch.randn(2, 4, 3, 3)
    projector = BottleneckProjector.between(student, torch.zeros(2, 6, *teacher), factor=3)
    assert projector(student).shape == (2, 6, *size)
    assert BottleneckProjector(4, 6, size=teacher)(student).shape == (2, 6, *teacher)


def test_a_step_moves_it_and_its_state_goes_round():
    torch.manual_seed(0)
    projector, student = BottleneckProjector(4, 6), torch.randn(2, 4, 3, 3)
    before = [p.detach().clone() for p in projector.parameters()]
    (projector(student) - torch.rand(2, 6, 3, 3)).square().sum().backward()
    torch.optim.SGD(projector.parameters(), lr=0.1).step()
    after = list(projector.parameters())
    assert all((b != a).any() for b, a in zip(before, after, strict=True))
    twin = BottleneckProjector(4, 6)
    twin.load_state_dict(projector.state_dict())
    torch.testing.assert_close(twin.eval()(student), projector.eval()(student))


def test_what_it_cannot_take_is_refused():
    with pytest.raises(ShapeError, match=r"BottleneckProjector: expected \[B, 4, H, W\], found"):
        BottleneckProjector(4, 6)(torch.zeros(2, 9, 4))
    with pytest.raises(InputError, match=r"BottleneckProjector.factor: expected a finite number"):
        BottleneckProjector(4, 6, factor=0)
