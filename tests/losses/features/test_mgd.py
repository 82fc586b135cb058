"""Masked generative distillation, against a loop over Python floats."""

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import MGDLoss
from tutelage.losses.features.mgd import generation_distance
from tutelage.projectors.masked_generation import MaskedGeneration


def reference(student, teacher, variant):
    total = sum((s - t) ** 2 for s, t in zip(student, teacher, strict=True))
    return total if variant == "paper" else total / len(student)


@pytest.mark.parametrize("variant", ["paper", "mean"])
@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (3, 7, 4)])
def test_equals_the_reference(shape, variant):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=torch.float64)
    rows = zip(student.flatten(1).tolist(), teacher.flatten(1).tolist(), strict=True)
    expected = torch.tensor([reference(*row, variant) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(generation_distance(student, teacher, variant=variant), expected)


def test_a_known_number():
    # Errors 1 and 3: the sum of squares is 10.
    student, teacher = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[0.0, 5.0]]]])
    assert MGDLoss()(student, teacher).item() == 10


def test_the_variants_differ_by_the_number_of_features():
    student, teacher = torch.randn(2, 3, 5, 4, 6, dtype=torch.float64)
    paper, mean = MGDLoss()(student, teacher), MGDLoss(variant="mean")(student, teacher)
    torch.testing.assert_close(paper, mean * 5 * 4 * 6)


def test_the_generation_learns_the_teachers_map_from_what_is_kept():
    torch.manual_seed(0)
    teacher = torch.randn(4, 6, 5, 5)
    student = teacher[:, :4]
    projector = MaskedGeneration.between(student, teacher, **MGDLoss.projector_options)
    optimiser = torch.optim.Adam(projector.parameters(), lr=0.01)
    values = []
    for _ in range(60):
        optimiser.zero_grad()
        value = MGDLoss(variant="mean")(projector(student), teacher)
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < 0.8 * values[0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"MGDLoss: .*found student \[2, 3, 4\] vs teacher"):
        MGDLoss()(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5))
    with pytest.raises(InputError, match=r"MGDLoss.variant: expected one of paper, mean"):
        MGDLoss(variant="sum")
