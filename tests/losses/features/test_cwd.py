"""Channel-wise divergence, against loops over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import CWDLoss, KDLoss
from tutelage.losses.features.cwd import channel_divergence


def softmax(row):
    powers = [math.exp(x) for x in row]
    return [x / sum(powers) for x in powers]


def reference(student, teacher, temperature):
    total = 0.0
    for s, t in zip(student, teacher, strict=True):
        q, p = (softmax([x / temperature for x in row]) for row in (s, t))
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [1.0, 4.0, 0.5])
def test_equals_the_reference(temperature, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 3, 5, dtype=dtype)
    rows = zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True)
    expected = torch.tensor([reference(*row, temperature) for row in rows], dtype=dtype)
    found = channel_divergence(student, teacher, temperature=temperature)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(CWDLoss(temperature=temperature)(student, teacher), expected.mean())


def test_a_known_number():
    # p = (0.8, 0.2) against uniform, in one of two channels: log 2 - H(p), halved.
    teacher = torch.tensor([[0.8, 0.2], [0.5, 0.5]]).log().view(1, 2, 1, 2)
    expected = (math.log(2) + 0.8 * math.log(0.8) + 0.2 * math.log(0.2)) / 2
    value = CWDLoss()(torch.zeros(1, 2, 1, 2), teacher)
    torch.testing.assert_close(value, torch.tensor(expected))


def test_it_is_plain_distillation_with_positions_for_classes():
    student, teacher = torch.randn(2, 3, 4, 3, 5, dtype=torch.float64)
    kd = KDLoss(temperature=2.0)(student.flatten(2), teacher.flatten(2))
    torch.testing.assert_close(CWDLoss(temperature=2.0)(student, teacher), kd)


def test_a_constant_added_to_a_channel_changes_nothing():
    student, teacher = torch.randn(2, 2, 3, 4, 4, dtype=torch.float64)
    shift = torch.randn(2, 3, 1, 1, dtype=torch.float64)
    loss = CWDLoss()
    torch.testing.assert_close(loss(student + shift, teacher - shift), loss(student, teacher))


def test_huge_maps_stay_finite():
    student, teacher = 1e4 * torch.randn(2, 2, 3, 4, 4)
    student.requires_grad_()
    value = CWDLoss()(student, teacher)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"CWDLoss: expected two feature maps .*tl.TokensToMap"):
        CWDLoss()(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ShapeError, match=r"CWDLoss: .*tl.ConvProjector\(3, 5\)"):
        CWDLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(InputError, match=r"CWDLoss.temperature: expected a finite number above 0"):
        CWDLoss(temperature=0)
