"""Partial distance before the ReLU, against a loop over Python floats; margins by integration."""

import math

import pytest
import torch
from torch import nn

from tutelage.errors import InputError, ShapeError
from tutelage.losses import OFDLoss
from tutelage.losses.features.ofd import margin_from_batch_norm, partial_distance


def reference(student, teacher, margin):
    total = 0.0
    for s_c, t_c, m in zip(student, teacher, margin, strict=True):
        for s, t in zip(s_c, t_c, strict=True):
            shown = max(t, m)
            if s > shown or t > 0:
                total += (s - shown) ** 2
    return total


def mean_below_zero(mean, deviation, steps=20_000):
    """E[x | x < 0] of a normal variable, by the midpoint rule over ten deviations."""
    low = min(mean, 0.0) - 10 * deviation
    width = -low / steps
    mass = moment = 0.0
    for i in range(steps):
        x = low + (i + 0.5) * width
        density = math.exp(-(((x - mean) / deviation) ** 2) / 2)
        mass, moment = mass + density, moment + x * density
    return moment / mass


def borrowed(weight, bias, **options):
    norm = nn.BatchNorm2d(len(weight), dtype=torch.float64)
    norm.load_state_dict({"weight": weight, "bias": bias}, strict=False)
    loss = OFDLoss(**options)
    loss.borrow(norm)
    return loss


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 2, 1, 1)])
def test_equals_the_reference(shape):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=torch.float64)
    weight, bias = torch.randn(2, shape[1], dtype=torch.float64)
    margin = margin_from_batch_norm(weight, bias)
    rows = zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True)
    values = torch.tensor([reference(*row, margin.tolist()) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(partial_distance(student, teacher, margin), values)
    torch.testing.assert_close(borrowed(weight, bias)(student, teacher), values.mean())
    loss = borrowed(weight, bias, variant="mean")
    torch.testing.assert_close(loss(student, teacher), values.mean() / student[0].numel())


@pytest.mark.parametrize(("beta", "gamma"), [(0.0, 1.0), (-0.7, 0.5), (1.2, -0.6), (-4.0, 0.1)])
def test_the_margin_is_the_mean_of_what_the_relu_hides(beta, gamma):
    weight, bias = torch.tensor([[gamma], [beta]], dtype=torch.float64)
    expected = torch.tensor([mean_below_zero(beta, abs(gamma))], dtype=torch.float64)
    torch.testing.assert_close(margin_from_batch_norm(weight, bias), expected, rtol=1e-6, atol=0)


def test_a_channel_that_is_hardly_ever_negative_has_three_deviations():
    # P(x < 0) is 0.00097 at 3.1 deviations and 0.00135 at 3.
    weight, bias = torch.tensor([-2.0, 1.0]), torch.tensor([6.2, 3.0])
    margin = margin_from_batch_norm(weight, bias)
    assert margin[0] == -6
    assert -0.5 < margin[1] < 0


def test_a_channel_without_spread_is_its_bias():
    margin = margin_from_batch_norm(torch.zeros(3), torch.tensor([-1.5, 0.0, 2.0]))
    torch.testing.assert_close(margin, torch.tensor([-1.5, 0.0, 0.0]))


def test_where_the_teacher_is_hidden_the_student_need_only_be_lower():
    loss = borrowed(torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    teacher = torch.full((1, 1, 1, 2), -3.0, dtype=torch.float64)
    student = torch.tensor([-9.0, -0.8]).double().view_as(teacher).requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value == 0
    assert student.grad.eq(0).all()
    assert loss(student + 1, teacher) > 0


def test_the_margins_are_a_copy_that_no_checkpoint_holds():
    norm = nn.BatchNorm2d(3)
    loss = OFDLoss()
    assert not loss.has_borrowed
    loss.borrow(norm)
    before = loss.margin.clone()
    nn.init.constant_(norm.bias, 5.0)
    assert loss.has_borrowed
    assert torch.equal(loss.margin, before)
    assert not loss.state_dict()
    assert not list(loss.parameters())


def test_what_does_not_fit_is_refused():
    maps = torch.zeros(2, 3, 4, 4)
    with pytest.raises(InputError, match=r"OFDLoss: expected to borrow .* found none; add borrow="):
        OFDLoss()(maps, maps)
    for module in (nn.ReLU(), nn.BatchNorm2d(3, affine=False)):
        with pytest.raises(
            InputError, match=r"with weight and bias, found .*; name the batch norm"
        ):
            OFDLoss().borrow(module)
    with pytest.raises(ShapeError, match=r"a margin for each channel .* found \[2\]; borrow the"):
        borrowed(torch.ones(2), torch.zeros(2))(maps, maps)
    with pytest.raises(ShapeError, match=r"two feature maps .* found student \[2, 3\]"):
        borrowed(torch.ones(3), torch.zeros(3))(torch.zeros(2, 3), torch.zeros(2, 3))


def test_a_student_that_is_not_a_number_is_not_hidden():
    loss = borrowed(torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    teacher = torch.full((1, 1, 1, 2), -3.0, dtype=torch.float64)
    assert loss(torch.full_like(teacher, torch.nan), teacher).isnan()
