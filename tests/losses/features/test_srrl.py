"""Softmax regression representation learning, against a loop over Python floats."""

import pytest
import torch
from torch import nn

from tutelage.errors import InputError, ShapeError
from tutelage.losses import SRRLLoss
from tutelage.losses.features.srrl import feature_matching, softmax_regression


def reference(student, teacher, weight, bias, factor):
    """The loss of one sample, given as a list of channels, each a list of positions."""

    def classified(pooled):
        rows = zip(weight, bias, strict=True)
        return [sum(w * f for w, f in zip(row, pooled, strict=True)) + b for row, b in rows]

    def mse(one, other):
        return sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / len(one)

    f_s, f_t = ([sum(row) / len(row) for row in feature] for feature in (student, teacher))
    return mse(f_s, f_t) + factor * mse(classified(f_s), classified(f_t))


def borrowed(head, **options):
    loss = SRRLLoss(**options)
    loss.borrow(head)
    return loss


@pytest.mark.parametrize("layout", ["map", "tokens"])
@pytest.mark.parametrize("weight", [0.0, 1.0, 5.0])
def test_equals_the_reference(weight, layout):
    torch.manual_seed(0)
    student = torch.randn(3, 5, 4, 6, dtype=torch.float64)
    teacher = torch.randn(3, 5, 2, 3, dtype=torch.float64)
    head = nn.Linear(5, 7).double()
    rows = zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True)
    parts = head.weight.tolist(), head.bias.tolist()
    expected = [reference(*row, *parts, weight) for row in rows]
    if layout == "tokens":
        student, teacher = student.flatten(2).mT, teacher.flatten(2).mT
    found = borrowed(head, weight=weight)(student, teacher)
    torch.testing.assert_close(found.item(), sum(expected) / 3)


def test_a_known_number():
    # Features 1 and 3: (1 - 3)^2 = 4. Logits 2 * 1 + 1 and 2 * 3 + 1: (3 - 7)^2 = 16.
    head = nn.Linear(1, 1)
    nn.init.constant_(head.weight, 2.0)
    nn.init.constant_(head.bias, 1.0)
    loss = borrowed(head, weight=0.5)
    assert loss(torch.ones(2, 1, 3, 3), torch.full((2, 1, 3, 3), 3.0)).item() == 4 + 0.5 * 16


def test_the_gradient_flows_through_the_classifier_to_the_student_only():
    torch.manual_seed(0)
    head, student = nn.Linear(4, 3), torch.randn(2, 4, 3, 3, requires_grad=True)
    logits = torch.randn(2, 3)
    softmax_regression(student, logits, head.weight.detach(), head.bias.detach()).sum().backward()
    error = student.detach().mean((2, 3)) @ head.weight.T + head.bias - logits
    expected = (2 / 3 * error @ head.weight / 9)[:, :, None, None].expand_as(student)
    torch.testing.assert_close(student.grad, expected.detach())
    loss = borrowed(head)
    assert not list(loss.parameters())
    assert not loss.state_dict()


def test_the_place_of_the_activity_does_not_count():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 3, 3, dtype=torch.float64)
    loss = borrowed(nn.Linear(4, 5).double())
    torch.testing.assert_close(loss(student.flip(2), teacher.mT), loss(student, teacher))


def test_a_1x1_convolution_is_a_classifier_too_and_a_later_step_of_the_teacher_does_not_count():
    conv = nn.Conv2d(4, 3, kernel_size=1, bias=False)
    linear = nn.Linear(4, 3, bias=False)
    linear.weight.data.copy_(conv.weight.detach().flatten(1))
    student, teacher = torch.randn(2, 2, 4, 3, 3)
    loss = borrowed(conv)
    nn.init.zeros_(conv.weight)
    torch.testing.assert_close(loss(student, teacher), borrowed(linear)(student, teacher))


def test_without_a_classifier_it_says_how_to_borrow_one():
    assert not SRRLLoss().has_borrowed
    assert borrowed(nn.Linear(2, 2)).has_borrowed
    with pytest.raises(
        InputError, match=r"expected to borrow the teacher's classifier.*borrow='fc"
    ):
        SRRLLoss()(torch.zeros(2, 4), torch.zeros(2, 4))
    for module in (nn.Conv2d(2, 2, 3), nn.ReLU()):
        with pytest.raises(InputError, match=rf"a linear layer, found {type(module).__name__}"):
            SRRLLoss().borrow(module)


def test_shapes_that_do_not_fit_are_refused():
    loss = borrowed(nn.Linear(4, 3))
    with pytest.raises(ShapeError, match=r'found student \[2, 5, 3, 3\] vs .*add via="paper"'):
        loss(torch.zeros(2, 5, 3, 3), torch.zeros(2, 4, 3, 3))
    with pytest.raises(ShapeError, match=r"features of 4 channels, .* found 5; tap the map"):
        loss(torch.zeros(2, 5, 3, 3), torch.zeros(2, 5, 3, 3))
    with pytest.raises(ShapeError, match=r"expected features .*found student \[2\] vs teacher"):
        feature_matching(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ShapeError, match=r"found student \[2, 3\] vs teacher \[2, 4\]"):
        softmax_regression(torch.zeros(2, 5), torch.zeros(2, 4), torch.zeros(3, 5))
    with pytest.raises(InputError, match=r"SRRLLoss.weight: expected a finite number of at least"):
        SRRLLoss(weight=-1)
