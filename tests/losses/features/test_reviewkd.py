"""The hierarchical context loss, against a loop over pixels."""

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import ReviewKDLoss
from tutelage.losses.features.reviewkd import context_distance
from tutelage.projectors.review_fusion import ReviewFusion


def pooled(feature, level):
    """Each cell of the level x level grid holds the mean of the pixels that it overlaps."""
    height, width = feature.shape[1:]
    cells = torch.zeros(len(feature), level, level, dtype=feature.dtype)
    for i in range(level):
        for j in range(level):
            rows = slice(i * height // level, -(-(i + 1) * height // level))
            columns = slice(j * width // level, -(-(j + 1) * width // level))
            cells[:, i, j] = feature[:, rows, columns].mean((1, 2))
    return cells


def reference(student, teacher, levels):
    """The loss of one sample [C, H, W]."""
    weights, distances = [1.0], [((student - teacher) ** 2).mean().item()]
    for level in levels:
        if level < student.shape[1]:
            weights.append(weights[-1] / 2)
            error = pooled(student, level) - pooled(teacher, level)
            distances.append((error**2).mean().item())
    pairs = zip(weights, distances, strict=True)
    return sum(w * d for w, d in pairs) / sum(weights)


@pytest.mark.parametrize("levels", [(4, 2, 1), (3,), ()])
@pytest.mark.parametrize("size", [(8, 8), (5, 7), (4, 4), (2, 3), (1, 1)])
def test_equals_the_reference(size, levels):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, *size, dtype=torch.float64)
    rows = zip(student, teacher, strict=True)
    expected = torch.tensor([reference(*row, levels) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(context_distance(student, teacher, levels=levels), expected)


def test_a_known_number():
    # The full map is off by 4 at one of 4 pixels: 16 / 4 = 4; its mean by 1: (4 + 1 / 2) / 1.5 = 3.
    student = torch.tensor([[[[4.0, 0.0], [0.0, 0.0]]]])
    assert ReviewKDLoss()([student], [torch.zeros(1, 1, 2, 2)]).item() == 3


def test_an_error_that_is_the_same_everywhere_counts_the_same_at_every_scale():
    teacher = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    found = context_distance(teacher + 3, teacher)
    torch.testing.assert_close(found, torch.full((2,), 9.0, dtype=torch.float64))


def test_layers_add_up():
    layers = [torch.randn(2, 2, 3, 8, 8), torch.randn(2, 2, 5, 3, 3)]
    whole = ReviewKDLoss()([one[0] for one in layers], [one[1] for one in layers])
    parts = [ReviewKDLoss()([one[0]], [one[1]]) for one in layers]
    torch.testing.assert_close(whole, parts[0] + parts[1])


def test_a_step_moves_every_part_of_the_fusion():
    torch.manual_seed(0)
    student = [torch.randn(4, 3, 8, 8), torch.randn(4, 5, 4, 4)]
    teacher = [torch.randn(4, 6, 8, 8), torch.randn(4, 7, 2, 2)]
    fusion = ReviewFusion.between(student, teacher)
    before = {name: p.detach().clone() for name, p in fusion.named_parameters()}
    optimiser = torch.optim.Adam(fusion.parameters(), lr=0.01)
    values = []
    for _ in range(20):
        optimiser.zero_grad()
        value = ReviewKDLoss()(fusion(student), teacher)
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < values[0]
    assert all((before[name] != p).all() for name, p in fusion.named_parameters())


def test_what_does_not_fit_is_refused():
    maps = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ShapeError, match=r"as many layers, .* found student 2 vs teacher 1"):
        ReviewKDLoss()([maps, maps], [maps])
    with pytest.raises(ShapeError, match=r"two feature maps .*found student \[2, 3, 4\] vs"):
        ReviewKDLoss()([maps[..., 0]], [maps])
    with pytest.raises(ShapeError, match=r"found student \[2, 3, 4, 4\] vs teacher \[2, 3, 4, 2"):
        ReviewKDLoss()([maps], [maps[..., :2]])
    with pytest.raises(ShapeError, match=r"one batch size, found student .* vs teacher"):
        ReviewKDLoss()([maps, maps[:1]], [maps, maps[:1]])
    for levels in [(0,), (1.5,)]:
        with pytest.raises(InputError, match=r"ReviewKDLoss.levels: expected whole numbers"):
            ReviewKDLoss(levels=levels)
