"""Two weights from one number."""

import re

import pytest
import torch
from torch import nn

from tutelage.distiller import Distiller
from tutelage.errors import InputError
from tutelage.losses import ATLoss, CELoss, KDLoss, LayersLoss
from tutelage.objective import Term, shares
from tutelage.schedules import Linear
from tutelage.teachers import FrozenTeacher


def mixed(student: nn.Module, teacher: nn.Module, alpha: object) -> Distiller:
    task, kd = shares(alpha)
    terms = [Term(CELoss(), task), Term(KDLoss(temperature=3.0), kd)]
    return Distiller(student, FrozenTeacher(teacher), terms)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 4), torch.randint(3, (6,))


def test_the_total_is_the_mixture(batch):
    student, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    step = mixed(student, teacher, 0.7)(*batch)
    expected = 0.3 * step.parts["ce"] + 0.7 * step.parts["kd"]
    torch.testing.assert_close(step.loss.detach(), expected)


@pytest.mark.parametrize("alpha", [0.0, 0.25, 1.0])
def test_the_weights_sum_to_one(alpha):
    assert sum(shares(alpha)) == 1


@pytest.mark.parametrize("alpha", [7, -0.1, float("nan"), True, "0.5", None])
def test_an_alpha_outside_0_to_1_is_refused(alpha):
    with pytest.raises(InputError, match=r"alpha: expected a number from 0 to 1, found ") as error:
        shares(alpha)
    assert error.value.exit_code == 2


def test_both_weights_follow_one_schedule(batch):
    student, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    distiller = mixed(student, teacher, Linear(0.2, 0.8, steps=4))
    for step, alpha in [(0, 0.2), (2, 0.5), (9, 0.8)]:
        distiller.set_step(step)
        found = distiller(*batch)
        expected = (1 - alpha) * found.parts["ce"] + alpha * found.parts["kd"]
        torch.testing.assert_close(found.loss.detach(), expected)


def test_a_schedule_that_will_leave_the_range_is_refused_at_once():
    with pytest.raises(InputError, match=r"alpha under Linear.*: expected .* found 1.5"):
        shares(Linear(0.0, 1.5, steps=9))


def test_a_function_that_leaves_the_range_is_refused_at_that_step(batch):
    distiller = mixed(nn.Linear(4, 3), nn.Linear(4, 3), lambda step: 0.5 * step)
    distiller.set_step(2)
    with pytest.raises(InputError, match=re.escape("alpha at step 3: expected a number from 0")):
        distiller.set_step(3)


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, width, 3, padding=1)
        self.hidden = nn.Linear(width * 16, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(self.conv(x).relu().flatten(1)).relu())


def test_every_loss_of_a_mixture_trains_the_student():
    # That a loss has a value does not say that it has a gradient: each is trained on by itself.
    torch.manual_seed(0)
    task, kd = shares(0.5)
    each = [
        Term(CELoss(), task),
        Term(KDLoss(temperature=3.0), kd),
        Term(LayersLoss(weights=(0.3, 0.7), power=1), at=[("hidden", "hidden"), ("head", "head")]),
        Term(ATLoss(power=2, norm="sum"), 100.0, at=("conv", "conv")),
    ]
    x, y, teacher = torch.randn(8, 1, 4, 4), torch.randint(3, (8,)), Net(8)
    for term in each:
        watched = [] if term.name == "kd" else [Term(KDLoss(), 0.0)]  # a teacher needs a use
        with Distiller(Net(4), FrozenTeacher(teacher), [term, *watched]) as distiller:
            optimiser = torch.optim.Adam(distiller.parameters(), lr=1e-2)
            first = distiller(x, y).parts[term.name]
            for _ in range(20):
                optimiser.zero_grad()
                distiller(x, y).loss.backward()
                optimiser.step()
            assert distiller(x, y).parts[term.name] < 0.8 * first, term.name
