"""A distilled student goes on learning from a teacher: other classes, other images."""

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.adapters.deit import DistillationLoss
from tutelage.data import load
from tutelage.models import create

SMALL = {"in_channels": 1, "patch": 4, "width": 32, "depth": 2, "heads": 2}


@pytest.fixture
def pretrained(tmp_path):
    """Weights of a student of ten classes and images of 8 pixels."""
    torch.manual_seed(0)
    path = tmp_path / "student.pt"
    student = create("distilled_vit", num_classes=10, size=(8, 8), **SMALL)
    torch.save(student.state_dict(), path)
    return path


def few_digits(count: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Fours and below, as another task than all ten."""
    data = load("digits").train
    batch = data.__getitems__(range(4 * count))
    few = batch.target < 4
    return batch.inputs[few][:count], batch.target[few][:count]


def a_teacher(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    torch.manual_seed(1)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 4))
    optimiser = torch.optim.Adam(teacher.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(teacher(x), y).backward()
        optimiser.step()
    return teacher


def test_a_pretrained_student_is_fine_tuned_with_distillation(pretrained) -> None:
    x, y = few_digits()
    teacher = a_teacher(x, y)
    student = create(
        "distilled_vit",
        num_classes=4,
        size=(8, 8),
        weights=pretrained,
        allow_random_head=True,
        **SMALL,
    )
    before = torch.load(pretrained)
    assert torch.equal(student.dist_token, before["dist_token"])
    terms = [tl.Term(tl.CELoss(), 0.5), tl.Term(tl.HardLabelLoss(), 0.5, at=("output:1", None))]
    with tl.Distiller(student, tl.FrozenTeacher(teacher), terms, example=x[:2]) as distiller:
        optimiser = torch.optim.AdamW(distiller.parameters(), 1e-2)
        first = {name: float(v) for name, v in distiller(x, y).parts.items()}
        for _ in range(30):
            optimiser.zero_grad()
            step = distiller(x, y)
            step.loss.backward()
            optimiser.step()
    assert all(float(step.parts[name]) < 0.6 * first[name] for name in ("ce", "hard_label"))
    for name in ("dist_token", "cls_token", "pos_embed"):
        assert not torch.equal(student.get_parameter(name), before[name])
    accuracy = (student.eval()(x).argmax(-1) == y).float().mean()
    assert accuracy > 0.7


def test_fine_tuning_at_a_higher_resolution_keeps_what_was_learnt(pretrained) -> None:
    x, y = few_digits()
    x = nn.functional.interpolate(x, size=(12, 12), mode="bilinear")
    student = create("distilled_vit", num_classes=10, size=(12, 12), weights=pretrained, **SMALL)
    before = torch.load(pretrained)
    assert torch.equal(student.head_dist.weight, before["head_dist.weight"])
    assert student.pos_embed.shape == (1, 2 + 9, 32)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(144, 10))
    criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, "soft", 0.5, 3.0)
    criterion(x, student(x), y).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())


def test_a_student_switched_to_one_output_goes_on_learning_from_the_teacher(pretrained) -> None:
    x, y = few_digits(16)
    student = create("distilled_vit", num_classes=10, size=(8, 8), weights=pretrained, **SMALL)
    student.eval()  # as fine-tuning with frozen statistics and dropout does: one tensor comes back
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, "hard", 0.5)
    criterion(x, student(x), y).backward()
    assert student.head.weight.grad.any()
    assert student.head_dist.weight.grad.any()
