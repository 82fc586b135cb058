import copy

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.data import Batch
from tutelage.training import TrainingSettings, fit, unreached


class Deep(nn.Module):
    """A body to tap, and above it a layer, two norms (one without weights) and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3, padding=1)
        self.low = nn.BatchNorm2d(4)
        self.mid = nn.Conv2d(4, 4, 1)
        self.high = nn.BatchNorm2d(4)
        self.bare = nn.BatchNorm2d(4, affine=False)
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.bare(self.high(self.mid(self.low(self.body(x))))).flatten(1))


def hinted(student: nn.Module, at: str = "low") -> tl.Distiller:
    torch.manual_seed(1)
    teacher = tl.FrozenTeacher(Deep())
    example = torch.rand(4, 1, 6, 6)
    return tl.Distiller(student, teacher, [tl.Term(tl.HintLoss(), at=at)], example=example)


SETTINGS = TrainingSettings(
    steps=6, batch_size=8, optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=0.5
)


def test_layers_above_the_hint_are_unreached_and_those_below_are_not() -> None:
    distiller = hinted(Deep())
    batch = Batch(torch.rand(8, 1, 6, 6), torch.zeros(8).long(), torch.arange(8))
    found = unreached(distiller, batch)
    assert set(found.parameters) == {
        "mid.weight",
        "mid.bias",
        "high.weight",
        "high.bias",
        "head.weight",
        "head.bias",
    }
    student = distiller.student
    assert isinstance(student, Deep)
    assert found.modules == [student.high, student.bare]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_weight_decay_momentum_and_statistics_leave_alone_what_no_term_reaches(
    splits, optimizer: str
) -> None:
    torch.manual_seed(0)
    student = Deep()
    before = copy.deepcopy(student.state_dict())
    with hinted(student) as distiller:
        settings = SETTINGS.model_copy(update={"optimizer": optimizer})
        fit(distiller, splits, settings, seed=0)
    for name, now in student.state_dict().items():
        moved = not torch.equal(now, before[name])
        assert moved == name.startswith(("body", "low")), name


def test_training_gives_back_what_it_let_rest(splits) -> None:
    student = Deep()
    student.high.requires_grad_(False)
    with hinted(student) as distiller:
        fit(distiller, splits, SETTINGS, seed=0)
    frozen = {name for name, p in student.named_parameters() if not p.requires_grad}
    assert frozen == {"high.weight", "high.bias"}
    assert distiller.ties_logits
    assert all(part.training for part in student.modules())


def test_a_term_of_the_logits_lets_everything_train(splits) -> None:
    student = Deep()
    before = copy.deepcopy(student.state_dict())
    with tl.Distiller(student, None, [tl.CELoss()]) as distiller:
        fit(distiller, splits, SETTINGS, seed=0)
    assert not any(
        torch.equal(before[n], p) for n, p in student.named_parameters() if "weight" in n
    )
