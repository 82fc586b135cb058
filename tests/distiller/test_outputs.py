"""Students with several heads: which of them a term compares."""

import pytest
import torch
from torch import Tensor, nn

import tutelage as tl
from tutelage.errors import TapError


class TwoHeads(nn.Module):
    """As a transformer with a distillation token: both heads in training, their mean after."""

    def __init__(self, *, as_dict: bool = False) -> None:
        super().__init__()
        self.as_dict = as_dict
        self.body = nn.Linear(4, 6)
        self.head, self.head_dist = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> object:
        hidden = self.body(x)
        first, second = self.head(hidden), self.head_dist(hidden)
        if not self.training:
            return (first + second) / 2
        return {"logits": first, "dist": second} if self.as_dict else (first, second)


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(5, 4, generator=generator), torch.arange(5) % 3


def made(student: nn.Module, place: str = "output:1") -> tl.Distiller:
    terms = [tl.Term(tl.CELoss(), 0.5), tl.Term(tl.KDLoss(temperature=2.0), 0.5, at=(place, None))]
    return tl.Distiller(student, tl.FrozenTeacher(nn.Linear(4, 3)), terms, example=batch()[0])


@pytest.mark.parametrize("as_dict", [False, True])
def test_each_head_learns_from_its_own_side(as_dict: bool) -> None:
    student = TwoHeads(as_dict=as_dict)
    x, y = batch()
    distiller = made(student, "output:dist" if as_dict else "output:1")
    step = distiller(x, y)
    hidden = student.body(x)
    assert torch.equal(step.parts["ce"], tl.CELoss()(student.head(hidden), None, y).detach())
    answer = distiller.teacher(x).logits  # type: ignore[misc]
    kd = tl.KDLoss(temperature=2.0)(student.head_dist(hidden), answer)
    torch.testing.assert_close(step.parts["kd"], kd.detach())
    step.loss.backward()
    assert student.head.weight.grad is not None
    assert student.head_dist.weight.grad is not None
    assert bool(student.head.weight.grad.any() and student.head_dist.weight.grad.any())


def test_in_eval_mode_every_term_reads_the_mean_of_the_heads() -> None:
    x, y = batch()
    distiller = made(TwoHeads()).eval()
    step = distiller(x, y)
    answer = distiller.teacher(x).logits  # type: ignore[misc]
    kd = tl.KDLoss(temperature=2.0)(step.logits, answer)
    torch.testing.assert_close(step.parts["kd"], kd.detach())


def test_a_student_with_one_head_has_all_its_terms_there() -> None:
    x, y = batch()
    step = made(nn.Linear(4, 3))(x, y)
    step.loss.backward()
    assert torch.isfinite(step.loss)


def test_an_output_that_a_framework_computed_is_read_the_same_way() -> None:
    student = TwoHeads()
    x, y = batch()
    distiller = made(student)
    torch.testing.assert_close(distiller.judge(student(x), x, y).loss, distiller(x, y).loss)


def test_a_place_of_the_output_on_the_teachers_side_is_refused() -> None:
    with pytest.raises(TapError, match=r"'output:1' on the student's side.*write None"):
        tl.Term(tl.KDLoss(), at=("head", "output:1"))


def test_an_item_that_the_student_does_not_return_is_found_before_step_one() -> None:
    class Three(TwoHeads):
        def forward(self, x: Tensor) -> object:
            return self.head(x.repeat(1, 2)[:, :6]), self.head_dist(x.repeat(1, 2)[:, :6])

    with pytest.raises(TapError, match=r"'output:2'"):
        made(Three(), "output:2")
