"""Neuron selectivity, against loops over all pairs of channels."""

import itertools
import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import NSTLoss
from tutelage.losses.features.nst import selectivity_distance


def unit(row):
    return [x / math.sqrt(sum(y * y for y in row)) for x in row]


def mean_kernel(first, second, degree, offset):
    pairs = list(itertools.product(map(unit, first), map(unit, second)))
    inner = [sum(x * y for x, y in zip(a, b, strict=True)) + offset for a, b in pairs]
    return sum(k**degree for k in inner) / len(pairs)


def reference(s, t, degree, offset):
    options = (degree, offset)
    return (
        mean_kernel(t, t, *options) + mean_kernel(s, s, *options) - 2 * mean_kernel(s, t, *options)
    )


@pytest.mark.parametrize(("degree", "offset"), [(2, 0.0), (1, 0.0), (3, 0.5)])
@pytest.mark.parametrize("size", [(2, 2), (3, 5)])  # fewer positions than channels, and more
@pytest.mark.parametrize("tokens", [False, True])
def test_equals_the_reference(tokens, size, degree, offset):
    torch.manual_seed(0)
    student = torch.randn(2, 5, *size, dtype=torch.float64)
    teacher = torch.randn(2, 7, *size, dtype=torch.float64)
    rows = zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True)
    expected = torch.tensor([reference(*row, degree, offset) for row in rows]).double()
    if tokens:
        student, teacher = student.flatten(2).mT, teacher.flatten(2).mT
    found = selectivity_distance(student, teacher, degree=degree, offset=offset)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    loss = NSTLoss(degree=degree, offset=offset)
    torch.testing.assert_close(loss(student, teacher), found.mean())


def test_a_known_number():
    # One channel each, at right angles: k is 1 with themselves and 0 with each other.
    student, teacher = torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[0.0, -5.0]]]])
    assert NSTLoss()(student, teacher) == 2
    # At 60 degrees, (a . b)^2 = 1/4.
    teacher = torch.tensor([[[[1.0, math.sqrt(3)]]]])
    torch.testing.assert_close(NSTLoss()(student, teacher), torch.tensor(1.5))


def test_neither_order_nor_scale_nor_copies_of_channels_count():
    student, teacher = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64)
    changed = torch.cat([2 * student, -7 * student.flip(1)], 1)
    loss = NSTLoss()
    torch.testing.assert_close(loss(changed, teacher), loss(student, teacher))


def test_dead_channels_have_gradients_like_the_others():
    student = torch.randn(2, 4, 3, 3)
    student[:, 1] = 0
    student.requires_grad_()
    NSTLoss()(student, torch.randn(2, 6, 3, 3)).backward()
    assert student.grad.abs().max() < 10


def test_what_does_not_fit_is_refused():
    maps = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ShapeError, match=r"NSTLoss: .*the same positions, .*; tap layers of one"):
        NSTLoss()(maps, torch.zeros(2, 3, 2, 2))
    with pytest.raises(ShapeError, match=r"NSTLoss: .*two feature maps .* or two token tensors"):
        NSTLoss()(maps, torch.zeros(2, 16, 3))
    with pytest.raises(InputError, match=r"NSTLoss.degree: expected a whole number, found 1.5"):
        NSTLoss(degree=1.5)
    with pytest.raises(InputError, match=r"NSTLoss.offset: expected a finite number of at least 0"):
        NSTLoss(offset=-1)
