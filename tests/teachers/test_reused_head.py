import copy

import pytest
import torch
from torch import nn

from tutelage.distiller import Distiller
from tutelage.errors import ShapeError, TapError
from tutelage.losses import SimKDLoss
from tutelage.objective import Term
from tutelage.projectors import BottleneckProjector
from tutelage.teachers import FrozenTeacher, ReusedHead


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(width, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(images).mean((2, 3)))


def test_the_logits_are_the_teachers_classifiers_of_the_pooled_projection():
    student, teacher, images = Net(4), Net(6), torch.randn(2, 1, 5, 5)
    projector = nn.Conv2d(4, 6, 1)
    model = ReusedHead(student, projector, teacher.fc, at="body")
    expected = teacher.fc(projector(student.body(images)).mean((2, 3)))
    torch.testing.assert_close(model(images), expected)
    torch.testing.assert_close(ReusedHead(student.body, projector, teacher.fc)(images), expected)


def test_a_student_that_copies_the_teachers_map_answers_as_the_teacher():
    teacher, images = Net(6), torch.randn(2, 1, 5, 5)
    model = ReusedHead(copy.deepcopy(teacher), nn.Identity(), teacher.fc, at="body")
    torch.testing.assert_close(model(images), teacher(images))


def test_vectors_are_classified_as_they_are():
    body, head = nn.Sequential(nn.Flatten(), nn.Linear(25, 6)), nn.Linear(6, 3)
    images = torch.randn(2, 1, 5, 5)
    torch.testing.assert_close(ReusedHead(body, nn.Identity(), head)(images), head(body(images)))


def test_it_says_what_it_adds():
    model = ReusedHead(Net(4), nn.Conv2d(4, 6, 1), nn.Linear(6, 3), at="body")
    assert model.extra_parameters == (4 * 6 + 6) + (6 * 3 + 3)
    assert "at='body'" in repr(model)


def test_trained_as_the_student_it_moves_all_but_the_classifier_and_deploys_as_it_is():
    torch.manual_seed(0)
    teacher, images = Net(6), torch.randn(8, 1, 5, 5)
    model = ReusedHead(Net(4), BottleneckProjector(4, 6), teacher.fc, at="body")
    terms = [Term(SimKDLoss(), at=("projector", "body"))]
    distiller = Distiller(model, FrozenTeacher(teacher), terms)
    trained = [p for p in distiller.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=0.01)
    values = []
    for _ in range(30):
        optimiser.zero_grad()
        step = distiller(images)
        step.loss.backward()
        optimiser.step()
        values.append(step.loss.item())
    assert values[-1] < 0.7 * values[0]
    assert (model.head.weight == teacher.fc.weight).all()
    assert not model.head.weight.requires_grad
    deployed, expected = distiller.student_only().eval(), model.eval()(images)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    torch.testing.assert_close(deployed(images), expected)


def test_its_state_goes_round():
    first, second = (
        ReusedHead(Net(4), nn.Conv2d(4, 6, 1), nn.Linear(6, 3), at="body") for _ in range(2)
    )
    second.load_state_dict(first.state_dict())
    images = torch.randn(2, 1, 5, 5)
    torch.testing.assert_close(second(images), first(images))


def test_what_it_cannot_take_is_refused():
    with pytest.raises(TapError, match="bodi"):
        ReusedHead(Net(4), nn.Identity(), nn.Linear(4, 3), at="bodi")
    with pytest.raises(ShapeError, match=r"ReusedHead: expected a map .* found \[2, 4, 5\]; name"):
        ReusedHead(nn.Flatten(2), nn.Identity(), nn.Linear(4, 3))(torch.zeros(2, 4, 5))


def test_the_classifier_rests_in_training_mode_and_takes_its_own_width():
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))
    model = ReusedHead(Net(4), nn.Conv2d(4, 6, 1), head, at="body").train()
    assert model.student.training
    assert not any(part.training for part in model.head.modules())
    narrow = ReusedHead(Net(4), nn.Conv2d(4, 5, 1), nn.Linear(6, 3), at="body")
    with pytest.raises(
        ShapeError, match=r"ReusedHead: expected 6 channels .* found \[2, 5, 4, 4\]"
    ):
        narrow(torch.zeros(2, 1, 4, 4))
