"""Pooled features, against a loop over Python floats."""

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import HintLoss, PooledFeatureLoss
from tutelage.losses.features.pooled import pooled_distance
from tutelage.projectors import LinearProjector


def reference(student, teacher):
    """Squared difference of the means of each channel's positions, mean over channels."""
    means = [[sum(channel) / len(channel) for channel in side] for side in (student, teacher)]
    return sum((s - t) ** 2 for s, t in zip(*means, strict=True)) / len(student)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tokens", [False, True])
def test_equals_the_reference(tokens, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 5, 4, 6, dtype=dtype), torch.randn(3, 5, 2, 2, dtype=dtype)
    rows = zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True)
    expected = torch.tensor([reference(*row) for row in rows], dtype=dtype)
    if tokens:
        student = student.flatten(2).mT
    torch.testing.assert_close(pooled_distance(student, teacher), expected)
    torch.testing.assert_close(PooledFeatureLoss()(student, teacher), expected.mean())
    paper = PooledFeatureLoss(variant="paper")
    torch.testing.assert_close(paper(student, teacher), expected.mean() * 5 / 2)


def test_a_known_number():
    # Means 2 and 0 against 1 and 1: (1 + 1) / 2, or half the sum.
    student, teacher = torch.tensor([[[1.0, 0.0], [3.0, 0.0]]]), torch.tensor([[1.0, 1.0]])
    assert PooledFeatureLoss()(student, teacher) == 1
    assert PooledFeatureLoss(variant="paper")(student, teacher) == 1


def test_of_vectors_it_is_the_hint():
    student, teacher = torch.randn(2, 4, 6, dtype=torch.float64)
    assert PooledFeatureLoss()(student, teacher) == HintLoss()(student, teacher)


def test_where_something_is_does_not_count():
    student, teacher = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64)
    loss = PooledFeatureLoss()
    torch.testing.assert_close(loss(student.flip(2, 3), teacher), loss(student, teacher))


def test_its_projector_pools_before_it_projects():
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 7)
    options = PooledFeatureLoss.projector_options
    projector = LinearProjector.between(student, teacher, **options)
    expected = projector.linear(student.mean((2, 3)))
    torch.testing.assert_close(projector(student), expected)
    assert PooledFeatureLoss()(projector(student), teacher).isfinite()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"PooledFeatureLoss: .*tl.LinearProjector\(3, 5\)"):
        PooledFeatureLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    with pytest.raises(ShapeError, match=r"PooledFeatureLoss: .* at least two axes, found \[3\]"):
        PooledFeatureLoss()(torch.zeros(3), torch.zeros(3))
    with pytest.raises(InputError, match=r"PooledFeatureLoss.variant: expected one of mean, paper"):
        PooledFeatureLoss(variant="sum")
