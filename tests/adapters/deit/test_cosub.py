"""Co-distillation of two sub-networks, alone and beside a teacher."""

import math

import pytest
import torch
from torch import Tensor, nn

import tutelage as tl
from tutelage.adapters.deit import CosubLoss, DistillationLoss
from tutelage.errors import InputError, ShapeError, TeacherError
from tutelage.models import Submodels, create

B, C = 3, 4


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def bce(z: Tensor, p: Tensor) -> float:
    """Binary cross-entropy over Python floats, mean over all elements."""
    pairs = list(zip(z.flatten().tolist(), p.flatten().tolist(), strict=True))
    return sum(math.log1p(math.exp(-abs(a))) + max(a, 0) - a * b for a, b in pairs) / len(pairs)


def by_hand(a: Tensor, b: Tensor, y: Tensor) -> float:
    return 0.25 * (bce(a, y) + bce(b, y) + bce(a, b.sigmoid()) + bce(b, a.sigmoid()))


def plain(**options) -> nn.Module:
    options = {"distilled": False, "drop_path": 0.5, "width": 16, "depth": 3, **options}
    return create("distilled_vit", num_classes=C, in_channels=1, size=(14, 14), patch=7, **options)


def test_the_four_terms_are_those_of_the_authors() -> None:
    both = torch.randn(2 * B, C, dtype=torch.float64)
    y = torch.randint(C, (B,))
    x = torch.randn(2 * B, 1)
    loss = DistillationLoss(CosubLoss())(x, both, y)
    expected = by_hand(*both.chunk(2), nn.functional.one_hot(y, C).double())
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_float_targets_of_several_classes_are_taken() -> None:
    a, b, y = torch.randn(B, C), torch.randn(B, C), torch.rand(B, C)
    loss = CosubLoss()([a, b], None, y)
    assert loss.item() == pytest.approx(by_hand(a, b, y), rel=1e-6)


def test_each_pass_is_a_constant_where_the_other_learns_from_it() -> None:
    a, b = (torch.randn(B, C, dtype=torch.float64, requires_grad=True) for _ in range(2))
    y = nn.functional.one_hot(torch.randint(C, (B,)), C).double()
    CosubLoss()([a, b], None, y).backward()
    # d bce(z, p) / dz = (sigmoid(z) - p) / (B C), from the labels and from the other pass
    expected = 0.25 * ((a.sigmoid() - y) + (a.sigmoid() - b.sigmoid())) / a.numel()
    torch.testing.assert_close(a.grad, expected.detach())


def test_cosub_goes_with_a_teacher_instead_of_replacing_it() -> None:
    teacher = nn.Linear(6, C)
    x, y = torch.randn(B, 6), torch.randint(C, (B,))
    cls, dist = torch.randn(2 * B, C), torch.randn(2 * B, C)
    criterion = DistillationLoss(CosubLoss(), teacher, "hard", alpha=0.4)
    loss = criterion(torch.cat([x, x]), (cls, dist), y)
    decision = teacher(x).argmax(-1).repeat(2)
    hard = nn.functional.cross_entropy(dist, decision).item()
    base = by_hand(*cls.chunk(2), nn.functional.one_hot(y, C))
    assert loss.item() == pytest.approx(0.6 * base + 0.4 * hard, rel=1e-5)
    assert list(criterion.parts) == ["base", "hard of pass 1", "hard of pass 2"]


def test_the_teacher_is_asked_once_about_images_that_come_twice() -> None:
    seen = []

    class Teacher(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return super().forward(x)

    x, y = torch.randn(B, 6), torch.randint(C, (B,))
    criterion = DistillationLoss(CosubLoss(), Teacher(6, C), "soft")
    criterion(torch.cat([x, x]), torch.randn(2 * B, C), y)
    assert seen == [B]


def test_a_batch_that_went_through_once_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"logits of 6 samples for 3 labels.*torch\.cat"):
        DistillationLoss(CosubLoss())(torch.randn(B, 6), torch.randn(B, C), torch.zeros(B).long())


def test_inputs_that_cannot_be_halved_are_refused() -> None:
    x = {"pixels": torch.randn(2 * B, 6)}
    with pytest.raises(InputError, match=r"expected the inputs as one tensor, found dict"):
        DistillationLoss(CosubLoss(), nn.Linear(6, C), "hard")(
            x, torch.randn(2 * B, C), torch.zeros(B).long()
        )


def test_another_task_brings_its_own_divergence() -> None:
    a, b, y = torch.randn(B, C), torch.randn(B, C), torch.randint(C, (B,))
    between = tl.KDLoss(temperature=1.0, variant="cross-entropy")
    loss = CosubLoss(tl.CELoss(), between)([a, b], None, y)
    ce = nn.functional.cross_entropy
    expected = (ce(a, y) + ce(b, y) + ce(a, b.softmax(-1)) + ce(b, a.softmax(-1))) / 4
    torch.testing.assert_close(loss, expected)


def test_in_a_distiller_it_stands_beside_any_teacher() -> None:
    student, images = Submodels(plain()), torch.randn(8, 1, 14, 14)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(196, C))
    both = [("first", None), ("second", None)]
    terms = [
        tl.Term(CosubLoss(), 0.5, at=both),
        tl.Term(tl.KDLoss(temperature=2.0), 0.25, at=("first", None)),
        tl.Term(tl.KDLoss(temperature=2.0), 0.25, at=("second", None)),
    ]
    distiller = tl.Distiller(student, tl.FrozenTeacher(teacher), terms, example=images)
    step = distiller(images, torch.randint(C, (8,)))
    assert list(step.parts) == ["cosub", "kd[first]", "kd[second]"]
    assert step.parts["kd[first]"] != step.parts["kd[second]"]  # two draws of the depth
    step.loss.backward()
    assert all(p.grad is not None for p in student.parameters())


def test_without_a_teacher_the_passes_teach_each_other_as_a_cohort_does() -> None:
    student, images = Submodels(plain()), torch.randn(8, 1, 14, 14)
    between = {"probabilities": "sigmoid"}
    terms = [
        tl.Term(tl.BCELoss(), 0.25),
        tl.Term(tl.BCELoss(), 0.25, at="second"),
        tl.Term(tl.BCEKDLoss(**between), 0.25, at=("first", "second")),
        tl.Term(tl.BCEKDLoss(**between), 0.25, at=("second", "first")),
    ]
    y = torch.randint(C, (8,))
    torch.manual_seed(1)
    taught = tl.Distiller(student, tl.Itself(), terms)(images, y)
    torch.manual_seed(1)
    both = [("first", None), ("second", None)]
    together = tl.Distiller(student, None, [tl.Term(CosubLoss(), at=both)])(images, y)
    torch.testing.assert_close(taught.loss, together.loss)


def test_a_teacher_is_still_asked_for_where_there_is_none() -> None:
    with pytest.raises(TeacherError, match="expected a teacher to learn from"):
        DistillationLoss(CosubLoss(), None, "soft")
