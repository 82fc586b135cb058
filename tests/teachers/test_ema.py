"""The mean teacher: its average, when it moves, and that training goes on from its state."""

import copy

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import InputError, TeacherError

X, Y = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def pair(**options: object) -> tuple[tl.Distiller, tl.EMATeacher, torch.optim.Optimizer]:
    student = net()
    teacher = tl.EMATeacher(student, **options)
    distiller = tl.Distiller(student, teacher, [tl.CELoss(), tl.KDLoss()])
    return distiller, teacher, torch.optim.SGD(distiller.parameters(), lr=0.1)


def train(distiller: tl.Distiller, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    distiller(X, Y).loss.backward()
    optimizer.step()


def test_the_average_follows_the_formula() -> None:
    distiller, teacher, optimizer = pair(decay=0.9)
    expected = copy.deepcopy(distiller.student[0].weight.detach())
    for n in range(1, 5):
        train(distiller, optimizer)
        distiller(X, Y)  # asks the teacher, which takes in the step
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * distiller.student[0].weight.detach()
        torch.testing.assert_close(dict(teacher.named_tensors())["0.weight"], expected)
    assert teacher.updates == 4


def test_buffers_are_copied() -> None:
    distiller, teacher, optimizer = pair()
    train(distiller, optimizer)
    mean = distiller.student[1].running_mean.clone()
    distiller.eval()(X, Y)
    torch.testing.assert_close(dict(teacher.named_tensors())["1.running_mean"], mean)


def test_it_moves_once_a_step_and_not_without_one() -> None:
    distiller, teacher, optimizer = pair()
    for _ in range(3):
        distiller(X, Y).loss.backward()  # gradients are accumulated, nothing is updated
    assert teacher.updates == 0
    optimizer.step()
    distiller(X, Y)
    distiller(X, Y)
    assert teacher.updates == 1


def test_decay_zero_is_the_student_of_the_step_before() -> None:
    distiller, teacher, optimizer = pair(decay=0.0)
    train(distiller, optimizer)
    with torch.no_grad():
        found = teacher(X).logits
        torch.testing.assert_close(found, distiller.student.eval()(X))


def test_training_goes_on_from_its_state() -> None:
    distiller, teacher, optimizer = pair()
    for _ in range(3):
        train(distiller, optimizer)
    state, steps = copy.deepcopy(distiller.state_dict()), copy.deepcopy(optimizer.state_dict())
    again, other, theirs = pair()
    again.load_state_dict(state)
    theirs.load_state_dict(steps)
    assert other.updates == teacher.updates
    for one, its in ((distiller, optimizer), (again, theirs)):
        for _ in range(2):
            train(one, its)
    torch.testing.assert_close(dict(again.state_dict()), dict(distiller.state_dict()))
    torch.testing.assert_close(dict(other.named_tensors()), dict(teacher.named_tensors()))


def test_the_state_of_another_model_is_refused() -> None:
    distiller, _, _ = pair()
    state = distiller.state_dict()
    state.pop("teacher_memory.updates")
    state["teacher_memory.average.3.bias"] = torch.zeros(7)
    with pytest.raises(
        RuntimeError, match=r"(?s)teacher_memory.updates.*expected \[3\], found \[7\]"
    ):
        distiller.load_state_dict(state)


def test_no_optimiser_sees_the_average() -> None:
    distiller, teacher, _ = pair()
    mine = {id(parameter) for parameter in distiller.parameters()}
    assert not mine & {id(tensor) for _, tensor in teacher.named_tensors()}
    assert sum(p.numel() for p in distiller.parameters()) == sum(
        p.numel() for p in net().parameters()
    )


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"EMATeacher.decay: expected a number from 0 to 1"):
        tl.EMATeacher(net(), decay=1.5)


def test_a_state_saved_after_the_teacher_was_asked_counts_no_step_twice() -> None:
    distiller, teacher, optimizer = pair()
    train(distiller, optimizer)
    distiller.eval()(X, Y)  # takes in the step
    state = copy.deepcopy(distiller.train().state_dict())
    again, other, _ = pair()
    again.load_state_dict(state)
    again(X, Y)
    assert other.updates == teacher.updates == 1


def test_writing_the_same_first_weights_is_no_step() -> None:
    distiller, teacher, _ = pair()
    distiller.student.load_state_dict(copy.deepcopy(distiller.student.state_dict()))
    distiller(X, Y)
    assert teacher.updates == 0


def test_a_copy_of_the_distiller_has_the_average_of_its_own_student() -> None:
    student = net()
    term = tl.Term(tl.HintLoss(), at="2")
    teacher = tl.EMATeacher(student)
    distiller = tl.Distiller(student, teacher, [tl.CELoss(), term])
    train(distiller, torch.optim.SGD(distiller.parameters(), lr=0.1))
    twin = copy.deepcopy(distiller)
    train(twin, torch.optim.SGD(twin.parameters(), lr=0.1))
    twin(X, Y)
    assert (teacher.updates, twin.teacher.updates) == (0, 2)
    assert twin.state_dict().keys() == distiller.state_dict().keys()
    distiller(X, Y)
    assert teacher.updates == 1
    assert copy.deepcopy(teacher) is teacher


def test_the_average_of_another_model_and_a_layer_to_copy_from_are_refused() -> None:
    with pytest.raises(TeacherError, match="found one that follows another model"):
        tl.Distiller(net(), tl.EMATeacher(net()), [tl.KDLoss()])
    student = net()
    borrowing = tl.Term(tl.SRRLLoss(), at="2", borrow="3")
    with pytest.raises(TeacherError, match="needs a teacher whose layers can be reached"):
        tl.Distiller(student, tl.EMATeacher(student), [borrowing])


def test_an_ensemble_keeps_the_average_of_its_member() -> None:
    student, other = net(), net()
    ensemble = tl.EnsembleTeacher([tl.EMATeacher(student), tl.FrozenTeacher(other)])
    distiller = tl.Distiller(student, ensemble, [tl.KDLoss()])
    assert "teacher_memory.0.average.3.bias" in distiller.state_dict()
