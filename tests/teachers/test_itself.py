"""Students that teach themselves: early exits, and cohorts that learn from each other."""

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import InputError, TeacherError
from tutelage.models import Cohort

X, Y = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])


class Exits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.exit = nn.Linear(8, 3)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.body(x).relu()
        self.exit(hidden)
        return self.head(hidden)


def test_an_exit_learns_from_the_last_layer_and_not_the_other_way() -> None:
    student = Exits()
    term = tl.Term(tl.KDLoss(temperature=3.0), at=("exit", None))
    with tl.Distiller(student, tl.Itself(), [term]) as distiller:
        step = distiller(X, Y)
        hidden = student.body(X).relu()
        expected = tl.KDLoss(temperature=3.0)(student.exit(hidden), student.head(hidden))
        torch.testing.assert_close(step.loss, expected)
        step.loss.backward()
    assert student.exit.weight.grad.ne(0).any()
    assert student.head.weight.grad.eq(0).all()


def test_members_of_a_cohort_learn_from_each_other() -> None:
    first, second = nn.Linear(4, 3), nn.Linear(4, 3)
    kd = tl.KDLoss(temperature=1.0)
    terms = [
        tl.Term(tl.CELoss(), name="ce 0"),
        tl.Term(tl.CELoss(), at="members.1", name="ce 1"),
        tl.Term(kd, at=("members.0", "members.1"), name="0 from 1"),
        tl.Term(kd, at=("members.1", "members.0"), name="1 from 0"),
    ]
    cohort = Cohort([first, second])
    with tl.Distiller(cohort, tl.Itself(), terms, example=X) as distiller:
        step = distiller(X, Y)
        step.loss.backward()
        a, b, ce = first(X), second(X), tl.CELoss()
        torch.testing.assert_close(
            [gradient for model in (first, second) for gradient in (model.weight.grad,)],
            [
                torch.autograd.grad(ce(a, None, Y) + kd(a, b.detach()), first.weight)[0],
                torch.autograd.grad(ce(b, None, Y) + kd(b, a.detach()), second.weight)[0],
            ],
        )
        torch.testing.assert_close(step.logits, a)


def test_a_cohort_needs_two_different_members() -> None:
    one = nn.Linear(2, 2)
    for members in ([one], [one, one]):
        with pytest.raises(InputError, match="expected at least two members, each another module"):
            Cohort(members)


def test_it_has_no_forward() -> None:
    with pytest.raises(TeacherError, match="has no forward of its own"):
        tl.Itself()(X)
