"""Variational information distillation, against a loop over Python floats."""

import copy
import io
import math
import pickle

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import VIDLoss
from tutelage.losses.features.vid import gaussian_surprise


def reference(student, teacher, log_scale, eps):
    """The loss of one sample, given as a list of channels, each a list of positions."""
    total, count = 0.0, 0
    for s_c, t_c, alpha in zip(student, teacher, log_scale, strict=True):
        variance = math.log(1 + math.exp(alpha)) + eps
        for s, t in zip(s_c, t_c, strict=True):
            total += 0.5 * ((s - t) ** 2 / variance + math.log(variance))
            count += 1
    return total / count


@pytest.mark.parametrize("eps", [1e-5, 0.3])
@pytest.mark.parametrize("layout", ["map", "tokens", "vector"])
def test_equals_the_reference(layout, eps):
    torch.manual_seed(0)
    size = (3, 5, 1, 1) if layout == "vector" else (3, 5, 4, 6)
    student, teacher = torch.randn(2, *size, dtype=torch.float64)
    log_scale = torch.randn(5, dtype=torch.float64)
    rows = zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True)
    expected = [reference(*row, log_scale.tolist(), eps) for row in rows]
    if layout == "tokens":
        student, teacher = student.flatten(2).mT, teacher.flatten(2).mT
    elif layout == "vector":
        student, teacher = student.flatten(1), teacher.flatten(1)
    found = gaussian_surprise(student, teacher, log_scale, eps=eps)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_a_known_number():
    # Variance 5 at the start: (3 - 1)^2 / 5 = 0.8, so (0.8 + log 5) / 2.
    loss = VIDLoss(channels=2)
    value = loss(torch.full((1, 2, 3, 3), 3.0), torch.ones(1, 2, 3, 3))
    torch.testing.assert_close(value.detach(), torch.tensor((0.8 + math.log(5)) / 2))


def test_the_learned_variance_becomes_the_mean_squared_error_of_its_channel():
    torch.manual_seed(0)
    student, teacher = torch.zeros(64, 2, 3, 3), torch.randn(64, 2, 3, 3)
    teacher[:, 1] *= 3
    loss = VIDLoss(channels=2)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        loss(student, teacher).backward()
        optimiser.step()
    variance = torch.nn.functional.softplus(loss.log_scale.detach()) + loss.eps
    torch.testing.assert_close(variance, teacher.square().mean((0, 2, 3)), rtol=1e-3, atol=1e-3)


def test_with_the_variance_held_at_one_half_it_is_the_squared_distance_up_to_a_constant():
    student, teacher = torch.randn(2, 4, 3, 2, 2, dtype=torch.float64)
    alpha = torch.full((3,), math.log(math.expm1(0.5)), dtype=torch.float64)
    found = gaussian_surprise(student, teacher, alpha, eps=1e-15)
    squares = (student - teacher).square().mean((1, 2, 3))
    torch.testing.assert_close(found, squares + math.log(0.5) / 2)


def test_an_optimiser_built_before_the_size_is_known_moves_the_scale():
    loss = VIDLoss()
    optimiser = torch.optim.AdamW(loss.parameters(), lr=0.1)
    student, teacher = torch.zeros(2, 4, 3, 3), torch.zeros(2, 4, 3, 3)
    loss.size_for(student, teacher)
    loss.size_for(student, teacher)
    before = loss.log_scale.detach().clone()
    loss(student, teacher).backward()
    optimiser.step()
    assert before.shape == (4,)
    assert (loss.log_scale < before).all()


def test_the_state_goes_round_into_an_unsized_loss():
    loss = VIDLoss(channels=3)
    torch.nn.init.normal_(loss.log_scale)
    twin, unsized = VIDLoss(), VIDLoss()
    twin.load_state_dict(loss.state_dict())
    torch.testing.assert_close(twin.log_scale, loss.log_scale)
    unsized.load_state_dict(VIDLoss().state_dict())
    assert not unsized.is_sized
    with pytest.raises(RuntimeError, match="log_scale"):
        VIDLoss(channels=3).load_state_dict({})


def test_an_unsized_loss_can_be_moved_copied_and_saved():
    loss = VIDLoss().double()
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss)), loss):
        twin.size_for(torch.zeros(2, 7, 4), torch.zeros(2, 7, 4))
        assert twin.log_scale.shape == (4,)
    assert loss.log_scale.dtype == torch.float64
    assert "channels=None" in repr(VIDLoss())
    torch.save(VIDLoss().state_dict(), io.BytesIO())


def test_an_unsized_loss_says_how_to_size_it():
    with pytest.raises(ShapeError, match=r"VIDLoss: expected to be sized .* VIDLoss\(channels="):
        VIDLoss()(torch.zeros(2, 3), torch.zeros(2, 3))


def test_half_precision_parameters_lose_no_range():
    loss = VIDLoss(channels=2).half()
    student = torch.full((1, 2, 3, 3), 1e4, dtype=torch.float16, requires_grad=True)
    value = loss(student, -student.detach())
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_shapes_that_do_not_fit_are_refused():
    loss = VIDLoss(channels=3)
    with pytest.raises(ShapeError, match=r"found student \[2, 3\] vs teacher \[2, 4\]; add via="):
        loss(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ShapeError, match=r"features of 3 channels on axis 1, found \[2, 4\]"):
        loss(torch.zeros(2, 4), torch.zeros(2, 4))


@pytest.mark.parametrize("options", [{"eps": 0}, {"init_variance": 1e-6}, {"channels": 0}])
def test_settings_outside_their_range_are_refused(options):
    with pytest.raises(InputError, match=rf"VIDLoss.{next(iter(options))}.*: expected a finite"):
        VIDLoss(**options)
