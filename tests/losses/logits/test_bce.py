"""BCE with labels, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import DataError, InputError, ShapeError
from tutelage.losses import BCELoss, CELoss
from tutelage.losses.logits.bce import binary_cross_entropy


def reference(logits, targets):
    """The mean over classes for one row of logits."""
    q = [1 / (1 + math.exp(-z)) for z in logits]
    return -sum(
        y * math.log(q_c) + (1 - y) * math.log(1 - q_c) for y, q_c in zip(targets, q, strict=True)
    ) / len(q)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, smoothing):
    torch.manual_seed(0)
    logits = 2 * torch.randn(shape, dtype=torch.float64)
    target = torch.randint(shape[-1], shape[:-1])
    values = []
    for row, y in zip(logits.flatten(0, -2).tolist(), target.flatten().tolist(), strict=True):
        hot = [float(c == y) for c in range(len(row))]
        values.append(reference(row, [(1 - smoothing) * h + smoothing / len(row) for h in hot]))
    expected = torch.tensor(values, dtype=torch.float64).view(shape[:-1])
    found = binary_cross_entropy(logits, target, label_smoothing=smoothing)
    torch.testing.assert_close(found, expected)
    loss = BCELoss(label_smoothing=smoothing)
    torch.testing.assert_close(loss(logits, None, target), expected.mean())


def test_mixed_and_several_labels_equal_the_reference():
    logits = torch.randn(2, 3, dtype=torch.float64)
    target = [[0.3, 0.7, 0.0], [1.0, 0.0, 1.0]]
    values = [reference(*row) for row in zip(logits.tolist(), target, strict=True)]
    found = BCELoss()(logits, None, torch.tensor(target))
    assert found.item() == pytest.approx(sum(values) / 2, rel=1e-6)


def test_a_known_number():
    # sigma = [3/4, 1/4, 1/2] with the label 0: log 4/3 twice and log 2, over three classes.
    logits = torch.tensor([[math.log(3), -math.log(3), 0.0]])
    value = BCELoss()(logits, None, torch.tensor([0]))
    assert value.item() == pytest.approx((2 * math.log(4 / 3) + math.log(2)) / 3, rel=1e-6)


def test_the_sum_is_as_many_times_larger_as_there_are_classes():
    logits, target = torch.randn(4, 7), torch.tensor([0, 6, -100, 2])
    found = BCELoss(variant="sum")(logits, None, target)
    torch.testing.assert_close(found, 7 * BCELoss()(logits, None, target))


def test_above_its_threshold_a_mixed_class_is_wholly_right():
    logits = torch.randn(1, 4)
    found = BCELoss(threshold=0.2)(logits, None, torch.tensor([[0.3, 0.5, 0.2, 0.0]]))
    expected = BCELoss()(logits, None, torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    torch.testing.assert_close(found, expected)


def test_two_opposite_logits_are_a_cross_entropy():
    # sigma(z) = softmax([z/2, -z/2]): each of the two classes pays what CE pays for both.
    z = torch.randn(4, 1)
    target = torch.tensor([0, 1, 1, 0])
    found = BCELoss()(torch.cat([z, -z], 1), None, target)
    torch.testing.assert_close(found, CELoss()(torch.cat([z / 2, -z / 2], 1), None, target))


def test_logits_of_ten_thousand_cost_what_they_are_wrong_by():
    logits = torch.tensor([[1e4, 1e4]], dtype=torch.float16, requires_grad=True)
    value = BCELoss()(logits, None, torch.tensor([0]))
    value.backward()
    assert value.item() == pytest.approx(1e4 / 2, rel=1e-3)
    assert logits.grad.tolist() == [[0.0, 0.5]]


def test_targets_of_another_shape_are_refused():
    with pytest.raises(ShapeError, match=r"BCELoss: expected float targets \[4, 5\], .*\[4, 6\]"):
        BCELoss()(torch.zeros(4, 5), None, torch.zeros(4, 6))


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(DataError, match="expected class indices from 0 to 4, found 5"):
        BCELoss()(torch.zeros(2, 5), None, torch.tensor([0, 5]))


@pytest.mark.parametrize("name", ["label_smoothing", "threshold"])
def test_hyper_parameters_outside_their_range_are_refused(name):
    with pytest.raises(InputError, match=rf"BCELoss.{name}: expected a number from 0 to 1"):
        BCELoss(**{name: 2})


def test_an_unknown_variant_is_refused():
    with pytest.raises(InputError, match=r"BCELoss.variant: expected one of mean, sum, found 'me'"):
        BCELoss(variant="me")
