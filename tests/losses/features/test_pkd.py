"""Pearson's correlation of channels, against Python's own."""

import statistics

import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.losses import PKDLoss


def channels(maps):
    """Return the values of each channel over the whole batch."""
    return maps.movedim(1, 0).flatten(1).tolist()


def reference(student, teacher):
    """(n - 1) / n * (1 - r), mean over channels."""
    pairs = zip(channels(student), channels(teacher), strict=True)
    distances = [1 - statistics.correlation(*pair) for pair in pairs]
    n = student[:, 0].numel()
    return (n - 1) / n * sum(distances) / len(distances)


@pytest.mark.parametrize("shape", [(3, 4, 3, 5), (1, 2, 2, 2), (6, 3, 1, 1)])
def test_equals_the_reference(shape):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=torch.float64)
    expected = torch.tensor(reference(student, teacher), dtype=torch.float64)
    # 1e-6 beside the standard deviation is in the code and not in r.
    torch.testing.assert_close(PKDLoss()(student, teacher), expected, rtol=1e-5, atol=1e-6)


def test_the_released_constant_stands_beside_the_deviation():
    # One channel of +-1 (deviation sqrt(2)) against one of +-1e-6 (deviation 1e-6 sqrt(2)).
    student = torch.tensor([1.0, -1.0], dtype=torch.float64).view(2, 1, 1, 1)
    s, t = 2**-0.5, 1 / (2**0.5 + 1)
    expected = torch.tensor((s - t) ** 2 / 2, dtype=torch.float64)
    value = PKDLoss()(student, 1e-6 * student)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)


def test_known_numbers():
    maps = torch.arange(8.0).view(2, 1, 2, 2)
    assert PKDLoss()(maps, maps) == 0
    # Opposite: r = -1, so 2 * 7 / 8.
    torch.testing.assert_close(PKDLoss()(maps, -maps), torch.tensor(1.75))


def test_neither_scale_nor_mean_of_a_channel_counts():
    student, teacher = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64)
    scale, shift = 1 + torch.rand(4, 1, 1, dtype=torch.float64), 100 * torch.randn(4, 1, 1)
    loss = PKDLoss()
    changed = loss(scale * student + shift, teacher)
    torch.testing.assert_close(changed, loss(student, teacher), rtol=1e-5, atol=1e-6)


def test_constant_channels_have_finite_gradients():
    student = torch.full((2, 3, 4, 4), 5.0, requires_grad=True)
    value = PKDLoss()(student, torch.randn(2, 3, 4, 4))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_other_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"PKDLoss: .*tl.ConvProjector\(3, 3, size=\(2, 2\)\)"):
        PKDLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 2, 2))
