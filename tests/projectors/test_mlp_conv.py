import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.projectors.mlp_conv import MLPConvProjector


def test_each_pixel_goes_through_one_mlp_without_bias():
    projector, maps = MLPConvProjector(4, 6, hidden_channels=5), torch.randn(2, 4, 3, 5)
    pixels = maps.movedim(1, -1)
    for conv in (projector.conv1, projector.conv2):
        pixels = (pixels @ conv.weight[:, :, 0, 0].T).clamp(min=0)
    expected = (pixels @ projector.conv3.weight[:, :, 0, 0].T).movedim(-1, 1)
    torch.testing.assert_close(projector(maps), expected)
    assert [name for name, _ in projector.named_parameters()] == [
        f"conv{i}.weight" for i in (1, 2, 3)
    ]


@pytest.mark.parametrize("teacher", [(2, 6, 3, 3), (2, 6, 2, 5), (2, 6, 6, 1)])
def test_it_reads_its_widths_and_sizes_off_two_maps(teacher):
    student = torch.randn(2, 4, 3, 3)
    projector = MLPConvProjector.between(student, torch.zeros(teacher), hidden_channels=7)
    assert projector(student).shape == teacher
    assert projector.conv1.out_channels == 7


def test_a_step_moves_it_and_its_state_goes_round():
    projector, student = MLPConvProjector(4, 6), torch.randn(2, 4, 3, 3)
    before = [p.detach().clone() for p in projector.parameters()]
    projector(student).square().sum().backward()
    torch.optim.SGD(projector.parameters(), lr=0.1).step()
    after = list(projector.parameters())
    assert all((b != a).any() for b, a in zip(before, after, strict=True))
    twin = MLPConvProjector(4, 6)
    twin.load_state_dict(projector.state_dict())
    torch.testing.assert_close(twin(student), projector(student))


def test_what_is_no_map_is_refused():
    with pytest.raises(ShapeError, match=r"MLPConvProjector: expected \[B, 4, H, W\], found"):
        MLPConvProjector(4, 6)(torch.zeros(2, 5, 3, 3))
    with pytest.raises(ShapeError, match=r"two maps .*found student \[2, 4\] vs teacher"):
        MLPConvProjector.between(torch.zeros(2, 4), torch.zeros(2, 6, 3, 3))
