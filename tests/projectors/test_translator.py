import pytest
import torch
from torch import nn

from tutelage.errors import InputError, ShapeError
from tutelage.projectors.translator import TranslatorProjector


def test_three_convolutions_each_with_a_leaky_relu():
    projector, student = TranslatorProjector(4, 6, slope=0.2), torch.randn(2, 4, 5, 5)
    layers = (projector.conv1, projector.conv2, projector.conv3)
    by_hand = nn.Sequential(*(nn.Sequential(conv, nn.LeakyReLU(0.2)) for conv in layers))
    torch.testing.assert_close(projector(student), by_hand(student))
    assert [conv.out_channels for conv in layers] == [4, 6, 6]


@pytest.mark.parametrize(("rate", "factor"), [(0.5, 3), (2, 12), (0.01, 1)])
@pytest.mark.parametrize("size", [(3, 3), (6, 2)])
def test_the_rate_sets_the_width_and_the_teacher_the_size(size, rate, factor):
    student, teacher = torch.randn(2, 4, 3, 3), torch.zeros(2, 6, *size)
    projector = TranslatorProjector.between(student, teacher, rate=rate)
    assert projector(student).shape == (2, factor, *size)


def test_a_step_moves_it_and_its_state_goes_round():
    projector, student = TranslatorProjector(4, 6), torch.randn(2, 4, 3, 3)
    before = [p.detach().clone() for p in projector.parameters()]
    projector(student).square().sum().backward()
    torch.optim.SGD(projector.parameters(), lr=0.1).step()
    after = list(projector.parameters())
    assert all((b != a).any() for b, a in zip(before, after, strict=True))
    twin = TranslatorProjector(4, 6)
    twin.load_state_dict(projector.state_dict())
    torch.testing.assert_close(twin(student), projector(student))


def test_what_it_cannot_take_is_refused():
    with pytest.raises(ShapeError, match=r"TranslatorProjector: expected \[B, 4, H, W\], found"):
        TranslatorProjector(4, 6)(torch.zeros(2, 9, 4))
    with pytest.raises(InputError, match=r"TranslatorProjector.rate: expected a finite number"):
        TranslatorProjector.between(torch.zeros(2, 4, 3, 3), torch.zeros(2, 6, 3, 3), rate=0)
