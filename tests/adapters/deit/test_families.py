"""timm's families with a distillation head train both heads, as they come."""

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.adapters.deit import DistillationLoss
from tutelage.models import create

pytest.importorskip("timm", exc_type=Exception)

# The smallest of each family, at the smallest images it can be built for.
FAMILIES = [
    pytest.param("deit_tiny_distilled_patch16_224", {"img_size": 32, "depth": 2}, 32, id="deit"),
    pytest.param("levit_128s", {"img_size": 64}, 64, id="levit"),
    pytest.param("pit_ti_distilled_224", {"img_size": 48}, 48, id="pit"),
    pytest.param(
        "efficientformerv2_s0", {"img_size": 64}, 64, id="efficientformerv2", marks=pytest.mark.slow
    ),
    pytest.param("swiftformer_xs", {}, 32, id="swiftformer"),
    pytest.param("repvit_m0_9", {}, 32, id="repvit", marks=pytest.mark.slow),
    pytest.param("efficientformer_l1", {}, 224, id="efficientformer", marks=pytest.mark.slow),
]
C = 10


def build(name: str, options: dict) -> nn.Module:
    torch.manual_seed(0)
    student = create(f"timm/{name}", num_classes=C, **options)
    student.set_distilled_training(True)
    return student


@pytest.mark.parametrize(("name", "options", "size"), FAMILIES)
def test_a_family_of_timm_trains_both_heads(name: str, options: dict, size: int) -> None:
    student = build(name, options)
    teacher = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, C))
    x, y = torch.randn(4, 3, size, size), torch.randint(C, (4,))
    heads = student.train()(x)
    assert [tuple(head.shape) for head in heads] == [(4, C), (4, C)]

    terms = [tl.Term(tl.CELoss(), 0.5), tl.Term(tl.HardLabelLoss(), 0.5, at=("output:1", None))]
    distiller = tl.Distiller(student, tl.FrozenTeacher(teacher), terms, example=x)
    judged = distiller.judge(heads, x, y)
    criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, "hard", alpha=0.5)
    torch.testing.assert_close(criterion(x, heads, y), judged.loss)

    judged.loss.backward()
    idle = [n for n, p in student.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle
    decision = teacher(x).argmax(-1)
    torch.testing.assert_close(
        judged.parts["hard_label"], nn.functional.cross_entropy(heads[1], decision).detach()
    )
    assert student.eval()(x).shape == (4, C)
