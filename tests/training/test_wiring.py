"""A loop of one's own: each fault of its wiring is found, all of them at once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tutelage as tl
from tutelage.errors import InputError
from tutelage.training import inspect_wiring


def batches(count: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(60) % 3
    inputs = F.one_hot(target, 6).float() + 0.01 * torch.randn(60, 6, generator=generator)
    return [(inputs, target)] * count


def net(width: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), nn.BatchNorm1d(width), nn.Linear(width, 3))


def knowing() -> nn.Module:
    teacher = nn.Sequential(nn.Identity(), nn.Identity(), nn.Linear(6, 3))
    with torch.no_grad():
        teacher[2].weight.copy_(9 * torch.eye(3, 6))
    return teacher.eval().requires_grad_(False)


def by_hand(
    teacher: nn.Module, student: nn.Module, extra: Callable[[Tensor], Tensor] | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(inputs: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher(inputs)
        logits = student(inputs)
        kd = F.kl_div(logits.log_softmax(1), wanted.softmax(1), reduction="batchmean")
        return kd + (extra(logits) if extra else 0)

    return loss


def wired(**changes: Any) -> tl.Wiring:
    """Return a wiring without fault, but for the changes."""
    teacher, student = changes.pop("teacher", knowing()), changes.pop("student", net(4))
    made: dict[str, Any] = {
        "student": student,
        "teacher": teacher,
        "loss": by_hand(teacher, student),
        "optimizer": torch.optim.SGD(student.parameters(), 0.1),
        "batches": batches(),
        "baseline": 0.5,
    }
    return tl.Wiring(**(made | changes))


def faults(wiring: tl.Wiring) -> list[str]:
    return inspect_wiring(wiring).faults


def test_a_right_wiring_has_no_faults_and_says_what_trains() -> None:
    found = inspect_wiring(wired())
    assert (found.faults, found.notes) == ([], [])
    lines = dict(found.lines)
    assert lines["teacher"].startswith("right on 100.0% of 240 samples")
    assert lines["trains"] == "51 numbers in 6 parameters"
    assert lines["baseline"] == "50.0%"


def test_an_untrained_teacher_head_is_told_from_a_trained_one() -> None:
    teacher = net(4, seed=3).eval().requires_grad_(False)
    nn.init.normal_(teacher[2].weight, std=1e-3)
    [fault] = faults(wired(teacher=teacher))
    assert "is near chance (33.3% for 3 classes)" in fault
    assert "100% of the entropy of guessing" in fault


def test_a_projector_outside_the_optimiser_is_named() -> None:
    projector = nn.Linear(3, 2)
    student, teacher = net(4), knowing()
    loss = by_hand(teacher, student, lambda logits: projector(logits).square().mean())
    named = wired(student=student, teacher=teacher, loss=loss, modules={"projector": projector})
    [fault] = faults(named)
    assert fault.startswith("projector: 2 of its 2 parameters take part in the loss and are in no")


def test_a_module_that_was_not_even_named_is_found_in_the_graph() -> None:
    projector = nn.Linear(3, 2)
    student, teacher = net(4), knowing()
    loss = by_hand(teacher, student, lambda logits: projector(logits).square().mean())
    [fault] = faults(wired(student=student, teacher=teacher, loss=loss))
    assert "2 parameters take part in it that are neither in the optimiser" in fault
    assert "one of shape [2, 3]" in fault


def test_parameters_that_get_no_gradient_are_named() -> None:
    student = net(4)
    idle = nn.Linear(2, 2)
    optimizer = torch.optim.SGD([*student.parameters(), *idle.parameters()], 0.1)
    [fault] = faults(wired(student=student, optimizer=optimizer, modules={"idle": idle}))
    assert fault.startswith("optimiser: 2 of its parameters get no gradient (idle.bias, idle.we")


def test_a_teacher_in_the_optimiser_is_found() -> None:
    student, teacher = net(4), knowing()
    optimizer = torch.optim.SGD([*student.parameters(), *teacher.parameters()], 0.1)
    [fault] = faults(wired(student=student, teacher=teacher, optimizer=optimizer))
    assert fault.startswith("teacher: 2 of its parameters are in the optimiser (teacher.2.bias")


def test_a_teacher_run_with_gradients_and_in_training_mode_is_found() -> None:
    student, teacher = net(4), knowing().requires_grad_(True).train()

    def loss(inputs: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(student(inputs), teacher(inputs))

    found = "\n".join(faults(wired(student=student, teacher=teacher, loss=loss)))
    assert "teacher: it is in training mode" in found
    assert "teacher: 2 of its parameters get gradients" in found


def test_a_projector_on_the_teachers_side_is_noted() -> None:
    projector = nn.Linear(3, 3)
    student, teacher = net(4), knowing()

    def loss(inputs: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher(inputs)
        return F.mse_loss(student(inputs), projector(wanted))

    optimizer = torch.optim.SGD([*student.parameters(), *projector.parameters()], 0.1)
    found = inspect_wiring(
        wired(
            student=student,
            teacher=teacher,
            loss=loss,
            optimizer=optimizer,
            modules={"projector": projector},
        )
    )
    assert found.faults == []
    assert found.notes[0].startswith("projector reads nothing that the student computes")


def test_a_missing_baseline_is_a_fault() -> None:
    [fault] = faults(wired(baseline=None))
    assert fault.startswith("baseline: none is named, so no gain can be claimed")


def test_all_faults_are_told_at_once() -> None:
    student = net(4)
    optimizer = torch.optim.SGD([student[0].weight], 0.1)
    assert len(faults(wired(student=student, optimizer=optimizer, baseline=None))) == 2


@pytest.mark.parametrize("whole", [True, False], ids=["all parameters", "the student's only"])
def test_a_distiller_is_looked_at_as_well(whole: bool) -> None:
    student, example = net(4), batches()[0][0]
    terms = [tl.KDLoss(), tl.Term(tl.HintLoss(), at=("0", "2"), via="auto")]
    with tl.Distiller(student, tl.FrozenTeacher(knowing()), terms, example=example) as distiller:
        trained = distiller if whole else student
        optimizer = torch.optim.SGD(trained.parameters(), 0.1)
        wiring = tl.Wiring(optimizer, batches(), distiller=distiller, baseline="runs/alone")
        found = faults(wiring)
    if whole:
        assert found == []
    else:
        assert found[0].startswith("terms: 2 of its 2 parameters take part in the loss and are in")


def test_nothing_is_changed_by_looking() -> None:
    student, teacher = net(4), net(4, seed=1).eval()
    before = [t.clone() for t in (*student.state_dict().values(), *teacher.state_dict().values())]
    wiring = wired(student=student, teacher=teacher)
    state = torch.random.get_rng_state()
    inspect_wiring(wiring)
    after = [*student.state_dict().values(), *teacher.state_dict().values()]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(p.grad is None for p in student.parameters())
    assert student.training


def test_a_wiring_that_says_nothing_or_too_much_is_refused() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    with pytest.raises(InputError, match=r"expected either distiller=.*found neither") as caught:
        tl.Wiring(optimizer, batches())
    assert caught.value.exit_code == 2
    with pytest.raises(InputError, match="expected at least one labelled batch"):
        inspect_wiring(wired(batches=[]))
    with pytest.raises(InputError, match="expected a scalar tensor with a gradient"):
        inspect_wiring(wired(loss=lambda inputs, target: torch.zeros(())))
