"""Log-sum distance of standardised features, against Python's own statistics."""

import math
import statistics

import pytest
import torch
from torch import nn

from tutelage.errors import InputError, ShapeError
from tutelage.losses import SRDLoss


def standardised(feature):
    columns = []
    for column in zip(*feature, strict=True):
        deviation = math.sqrt(statistics.pvariance(column) + 1e-4)
        columns += [(x - statistics.fmean(column)) / deviation for x in column]
    return columns


def reference(student, teacher, power):
    pairs = zip(standardised(student), standardised(teacher), strict=True)
    return math.log(sum(abs(s - t) ** power for s, t in pairs))


@pytest.mark.parametrize("power", [4.0, 1.0, 2.5])
def test_equals_the_reference(power):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 3, dtype=torch.float64)
    expected = torch.tensor(reference(student.tolist(), teacher.tolist(), power)).double()
    found = SRDLoss(power=power)(student, teacher)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_it_standardises_as_a_batch_norm_that_trains():
    student, teacher = torch.randn(2, 8, 6, dtype=torch.float64)
    norm = nn.BatchNorm1d(6, eps=1e-4, affine=False, dtype=torch.float64)
    expected = (norm(student) - norm(teacher)).pow(4).sum().log()
    torch.testing.assert_close(SRDLoss()(student, teacher), expected)


def test_a_known_number():
    # +-1 against -+1, standardised by sqrt(1.0001): two differences of 2, to the fourth power.
    student = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    expected = torch.tensor(math.log(32 / 1.0001**2), dtype=torch.float64)
    torch.testing.assert_close(SRDLoss()(student, -student), expected)


def test_neither_scale_nor_mean_of_a_feature_counts():
    student, teacher = 10 * torch.randn(2, 6, 4, dtype=torch.float64)
    scale = 1 + torch.rand(4, dtype=torch.float64)
    changed = SRDLoss()(scale * student + 5, teacher)
    torch.testing.assert_close(changed, SRDLoss()(student, teacher), rtol=1e-4, atol=1e-4)


def test_twice_the_batch_adds_log_2():
    student, teacher = torch.randn(2, 6, 4, dtype=torch.float64)
    found = SRDLoss()(student.repeat(2, 1), teacher.repeat(2, 1))
    torch.testing.assert_close(found, SRDLoss()(student, teacher) + math.log(2))


def test_maps_and_tokens_are_pooled():
    maps = torch.randn(4, 6, 3, 3)
    teacher = torch.randn(4, 6)
    expected = SRDLoss()(maps.mean((2, 3)), teacher)
    torch.testing.assert_close(SRDLoss()(maps, teacher), expected)
    torch.testing.assert_close(SRDLoss()(maps.flatten(2).mT, teacher), expected)


@pytest.mark.parametrize("batch", [1, 4])
def test_equal_features_are_finite_without_gradient(batch):
    student = torch.randn(batch, 3, requires_grad=True)
    value = SRDLoss()(student, student.detach().clone())
    value.backward()
    assert value < -80
    assert value.isfinite()
    assert student.grad.eq(0).all()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"SRDLoss: .*tl.LinearProjector\(3, 5\)"):
        SRDLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5))
    with pytest.raises(InputError, match=r"SRDLoss.power: expected .* at least 1, found 0.5"):
        SRDLoss(power=0.5)
