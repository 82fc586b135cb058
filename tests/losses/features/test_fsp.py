"""Flow between layers, against loops over channels and positions."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import FSPLoss
from tutelage.losses.features.fsp import flow_distance


def pool(channel, rows, columns, kind):
    """Pool a map whose sides are multiples of the result's."""
    height, width = len(channel) // rows, len(channel[0]) // columns
    blocks = [
        [channel[r * height + i][c * width + j] for i in range(height) for j in range(width)]
        for r in range(rows)
        for c in range(columns)
    ]
    return [max(block) if kind == "max" else sum(block) / len(block) for block in blocks]


def flow(first, second, kind):
    rows = min(len(first[0]), len(second[0]))
    columns = min(len(first[0][0]), len(second[0][0]))
    a, b = ([pool(c, rows, columns, kind) for c in layer] for layer in (first, second))
    return [[sum(x * y for x, y in zip(i, j, strict=True)) / len(i) for j in b] for i in a]


def reference(student, teacher, variant, kind):
    total = 0.0
    for layer in range(len(student) - 1):
        g_s, g_t = (flow(side[layer], side[layer + 1], kind) for side in (student, teacher))
        squares = [
            [(s - t) ** 2 for s, t in zip(*rows, strict=True)]
            for rows in zip(g_s, g_t, strict=True)
        ]
        if variant == "columns":
            total += sum(math.sqrt(sum(column)) for column in zip(*squares, strict=True))
        else:
            entries = [square for row in squares for square in row]
            total += sum(entries) / (len(entries) if variant == "mean" else 1)
    return total


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("variant", ["paper", "mean", "columns"])
def test_equals_the_reference(variant, kind):
    torch.manual_seed(0)
    shapes = [(2, 3, 4, 8), (2, 5, 4, 4), (2, 2, 2, 4)]
    student = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    # The teacher's maps may have other sizes.
    teacher = [torch.randn(*shape[:2], 4, 4, dtype=torch.float64) for shape in shapes]
    values = [
        reference([x[b].tolist() for x in student], [x[b].tolist() for x in teacher], variant, kind)
        for b in range(2)
    ]
    expected = torch.tensor(values, dtype=torch.float64)
    found = flow_distance(student, teacher, variant=variant, pool=kind)
    torch.testing.assert_close(found, expected)
    loss = FSPLoss(variant=variant, pool=kind)
    torch.testing.assert_close(loss(student, teacher), expected.mean())


def test_a_known_number():
    # G_s = [[1 * 2]] and G_t = [[1 * 5], ...]: differences 3 and -1 in one column.
    student = [torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), torch.tensor([2.0]).view(1, 1, 1, 1)]
    teacher = [torch.tensor([1.0, 1.0]).view(1, 2, 1, 1), torch.tensor([5.0]).view(1, 1, 1, 1)]
    assert FSPLoss()(student, teacher) == 10
    assert FSPLoss(variant="mean")(student, teacher) == 5
    assert FSPLoss(variant="columns")(student, teacher) == torch.tensor(10.0).sqrt()


def test_where_the_channels_fire_does_not_count():
    student = [torch.randn(2, 3, 4, 4, dtype=torch.float64) for _ in range(2)]
    teacher = [torch.randn(2, 3, 4, 4, dtype=torch.float64) for _ in range(2)]
    order = torch.randperm(16)
    moved = [layer.flatten(2)[:, :, order].unflatten(2, (4, 4)) for layer in student]
    loss = FSPLoss()
    torch.testing.assert_close(loss(moved, teacher), loss(student, teacher))


def test_equal_layers_have_no_gradient_in_any_variant():
    student = [torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(3)]
    for variant in ("paper", "mean", "columns"):
        value = FSPLoss(variant=variant)(student, [layer.detach() for layer in student])
        gradients = torch.autograd.grad(value, student)
        assert value == 0
        assert all(gradient.eq(0).all() for gradient in gradients)


def test_what_does_not_fit_is_refused():
    a, b = torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4)
    with pytest.raises(ShapeError, match=r"FSPLoss: expected at least two layers, found 1; name"):
        FSPLoss()([a], [a])
    with pytest.raises(ShapeError, match=r"as many layers, .* found student 2 vs teacher 3; name"):
        FSPLoss()([a, a], [a, a, a])
    with pytest.raises(ShapeError, match=r"FSPLoss, layer 1: .*same channels, .*add via=.auto"):
        FSPLoss()([a, a], [a, b])
    with pytest.raises(ShapeError, match=r"FSPLoss, layer 0: expected maps .* tap convolutional"):
        FSPLoss()([a[0], a], [a[0], a])
    with pytest.raises(InputError, match=r"FSPLoss.pool: expected one of max, average"):
        FSPLoss(pool="min")
