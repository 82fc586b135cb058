"""The projector that keeps lengths."""

import copy

import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.projectors import LinearProjector, OrthogonalProjector


def orthonormality(projector):
    weight = projector.linear.weight.detach()
    narrow = weight if weight.shape[0] <= weight.shape[1] else weight.T
    return (narrow @ narrow.T - torch.eye(len(narrow))).abs().max()


@pytest.mark.parametrize(("inward", "outward"), [(4, 9), (9, 4), (5, 5)])
def test_it_is_orthonormal_and_stays_so_while_it_learns(inward, outward):
    torch.manual_seed(0)
    projector = OrthogonalProjector(inward, outward)
    optimiser = torch.optim.SGD(projector.parameters(), lr=0.5)
    student, teacher = torch.randn(8, inward), torch.randn(8, outward)
    losses = []
    for _ in range(10):
        loss = (projector(student) - teacher).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        assert orthonormality(projector) < 1e-5
    assert losses[-1] < losses[0]


def test_towards_a_wider_teacher_it_keeps_lengths_and_angles():
    student = torch.randn(6, 4)
    projected = OrthogonalProjector(4, 10)(student)
    torch.testing.assert_close(projected @ projected.T, student @ student.T)


def test_copies_and_checkpoints_give_the_same():
    torch.manual_seed(0)
    projector, student = OrthogonalProjector(4, 6), torch.randn(3, 4)
    other = OrthogonalProjector(4, 6)
    assert not torch.equal(other(student), projector(student))
    other.load_state_dict(projector.state_dict())
    torch.testing.assert_close(other(student), projector(student))
    torch.testing.assert_close(copy.deepcopy(projector)(student), projector(student))


@pytest.mark.parametrize("kind", [OrthogonalProjector, LinearProjector])
@pytest.mark.parametrize("student", [(2, 3), (2, 5, 3), (2, 3, 4, 4)])
@pytest.mark.parametrize("teacher", [(2, 7), (2, 6, 7), (2, 7, 3, 3)])
def test_it_reads_its_widths_off_any_two_layouts_when_it_pools(student, teacher, kind):
    student, teacher = torch.randn(student), torch.randn(teacher)
    projector = kind.between(student, teacher, pool=True)
    assert projector(student).shape == (2, 7)
    vector = student if student.ndim == 2 else student.mean(1 if student.ndim == 3 else (2, 3))
    torch.testing.assert_close(projector(student), projector(vector))


def test_it_maps_every_token_when_it_does_not_pool():
    projector = OrthogonalProjector.between(torch.randn(2, 5, 3), torch.randn(2, 5, 7))
    assert projector(torch.randn(2, 5, 3)).shape == (2, 5, 7)


@pytest.mark.parametrize("shape", [(4,), (2, 5), (2, 4, 3, 3)])
def test_another_width_is_refused(shape):
    message = r"OrthogonalProjector: expected \[..., 4\], found .*; set in_features .* pool=True"
    with pytest.raises(ShapeError, match=message):
        OrthogonalProjector(4, 6)(torch.zeros(shape))
