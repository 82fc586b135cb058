"""Weighted distances of several layers, against a loop over Python floats."""

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import HintLoss, LayersLoss
from tutelage.losses.features.layers import layers_distance


def reference(student, teacher, weights, power):
    total = 0.0
    for s, t, w in zip(student, teacher, weights, strict=True):
        powers = [abs(a - b) ** power for a, b in zip(s, t, strict=True)]
        total += w * sum(powers) / len(powers)
    return total


@pytest.mark.parametrize("power", [1, 2, 1.5, 3])
def test_equals_the_reference(power):
    torch.manual_seed(0)
    shapes, weights = [(3, 5), (3, 4, 2), (3, 2, 3, 4)], (0.7, 0.0, 1.3)
    student = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    teacher = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    rows = [
        [[layer[b].flatten().tolist() for layer in side] for side in (student, teacher)]
        for b in range(3)
    ]
    expected = torch.tensor([reference(*row, weights, power) for row in rows]).double()
    found = layers_distance(student, teacher, weights=weights, power=power)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
    loss = LayersLoss(weights=weights, power=power)
    torch.testing.assert_close(loss(student, teacher), found.mean())


def test_known_numbers():
    student = [torch.zeros(1, 2), torch.zeros(1, 1)]
    teacher = [torch.tensor([[1.0, -3.0]]), torch.tensor([[4.0]])]
    assert LayersLoss()(student, teacher) == 5 + 16
    assert LayersLoss(power=1)(student, teacher) == 2 + 4
    assert LayersLoss(weights=(2, 0.5), power=1)(student, teacher) == 4 + 2


def test_one_layer_is_the_hint():
    student, teacher = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    found = LayersLoss()([student], [teacher])
    torch.testing.assert_close(found, HintLoss()(student, teacher))


@pytest.mark.parametrize("power", [1, 1.5, 2])
def test_equal_features_have_a_finite_gradient(power):
    student = torch.randn(3, 4, requires_grad=True)
    value = LayersLoss(power=power)([student], [student.detach().clone()])
    value.backward()
    assert value == 0
    assert student.grad.eq(0).all()


def test_an_error_names_the_layer_and_both_shapes():
    a, b = torch.zeros(2, 5), torch.zeros(2, 7)
    message = (
        r"LayersLoss, layer 1: .*found student \[2, 5\] vs teacher \[2, 7\]; .*LinearProjector"
    )
    with pytest.raises(ShapeError, match=message):
        LayersLoss()([a, a], [a, b])


def test_what_does_not_fit_is_refused():
    a = torch.zeros(2, 5)
    with pytest.raises(ShapeError, match=r"as many layers, .* found student 1 vs teacher 2; name"):
        LayersLoss()([a], [a, a])
    with pytest.raises(ShapeError, match=r"weight for each of 2 layers, found 1; give weights=\(1"):
        LayersLoss(weights=[1.0])([a, a], [a, a])
    with pytest.raises(InputError, match=r"LayersLoss.weights\[1\]: expected .* at least 0"):
        LayersLoss(weights=[1.0, -1.0])
    with pytest.raises(InputError, match=r"LayersLoss.power: expected .* at least 1, found 0.5"):
        LayersLoss(power=0.5)


def test_weights_that_leave_nothing_to_learn_are_refused():
    for weights in ([], [0.0, 0]):
        with pytest.raises(InputError, match=r"LayersLoss.weights: expected one above 0, found \["):
            LayersLoss(weights=weights)
