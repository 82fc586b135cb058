"""The criterion of DeiT's engine: its formula, its students, and what fails silently elsewhere."""

import math
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

import tutelage as tl
from tutelage.adapters.deit import DistillationLoss
from tutelage.errors import DataError, InputError, NumericalError, ShapeError, TeacherError
from tutelage.models import create

B, C, D = 6, 5, 8
VARIANT = {"soft": "numel", "hard": "paper"}  # those of the authors


class TwoHeads(nn.Module):
    """Class head and distillation head, in whatever shape the outputs are wanted."""

    def __init__(self, returns: str = "tuple") -> None:
        super().__init__()
        self.head, self.head_dist, self.returns = nn.Linear(D, C), nn.Linear(D, C), returns

    def forward(self, x: Tensor) -> object:
        cls, dist = self.head(x), self.head_dist(x)
        return {
            "tuple": (cls, dist),
            "three": (cls, dist, x),
            "dict": {"logits": cls, "dist": dist},
            "ordered": OrderedDict(logits=cls, distillation_logits=dist),
            "one": cls,
            "dict of one": {"logits": cls},
        }[self.returns]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def batch(size: int = B) -> tuple[Tensor, Tensor]:
    return torch.randn(size, D), torch.randint(C, (size,))


def log_softmax(row: list[float]) -> list[float]:
    total = math.log(sum(math.exp(z - max(row)) for z in row)) + max(row)
    return [z - total for z in row]


def as_the_authors(
    cls: Tensor, dist: Tensor, teacher: Tensor, y: Tensor, kind: str, alpha: float, tau: float
) -> float:
    """The formula of DeiT's losses.py over Python floats, one number at a time."""
    base = [-log_softmax(row)[label] for row, label in zip(cls.tolist(), y.tolist(), strict=True)]
    total = 0.0
    for mine, other in zip(dist.tolist(), teacher.tolist(), strict=True):
        if kind == "hard":
            total -= log_softmax(mine)[max(range(len(other)), key=other.__getitem__)] / len(cls)
            continue
        p, q = log_softmax([z / tau for z in other]), log_softmax([z / tau for z in mine])
        divergence = sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True))
        total += divergence * tau * tau / dist.numel()
    return (1 - alpha) * sum(base) / len(base) + alpha * total


@pytest.mark.parametrize("tau", [1.0, 3.0])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_value_and_gradient_are_those_of_the_authors(kind: str, alpha: float, tau: float) -> None:
    student, teacher = TwoHeads().double(), nn.Linear(D, C).double()
    x, y = batch()
    x = x.double()
    base = nn.CrossEntropyLoss()
    criterion = DistillationLoss(base, teacher, kind, alpha, tau, variant=VARIANT[kind])
    outputs = tuple(one.detach().requires_grad_() for one in student(x))
    loss = criterion(x, outputs, y)
    expected = as_the_authors(*outputs, teacher(x), y, kind, alpha, tau)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    loss.backward()
    nudge = 1e-6
    for head, one in enumerate(outputs):
        for place in ((0, 0), (2, 3), (B - 1, C - 1)):
            moved = [[o.detach().clone() for o in outputs] for _ in range(2)]
            moved[0][head][place] += nudge
            moved[1][head][place] -= nudge
            up, down = (as_the_authors(*m, teacher(x), y, kind, alpha, tau) for m in moved)
            assert one.grad[place].item() == pytest.approx((up - down) / 2 / nudge, abs=1e-8)


@pytest.mark.parametrize("classes", [10, 1000])
def test_the_soft_loss_is_a_mean_over_samples_and_numel_is_smaller_by_the_classes(
    classes: int,
) -> None:
    student, teacher = nn.Linear(D, classes), nn.Linear(D, classes)
    x, y = torch.randn(B, D), torch.zeros(B, dtype=torch.long)
    losses, gradients = [], []
    for variant in ("paper", "numel"):
        criterion = DistillationLoss(
            nn.CrossEntropyLoss(), teacher, "soft", 1.0, 2.0, variant=variant
        )
        student.zero_grad()
        losses.append(criterion(x, student(x), y))
        losses[-1].backward()
        gradients.append(student.weight.grad.clone())
        criterion.close()
    torch.testing.assert_close(losses[0], classes * losses[1])
    torch.testing.assert_close(gradients[0], classes * gradients[1])


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_a_student_with_one_head_learns_labels_and_teacher_there(kind: str) -> None:
    student, teacher = TwoHeads("one"), nn.Linear(D, C)
    x, y = batch()
    criterion = DistillationLoss(
        nn.CrossEntropyLoss(), teacher, kind, 0.3, 2.0, variant=VARIANT[kind]
    )
    z = student(x)
    expected = as_the_authors(z, z, teacher(x), y, kind, 0.3, 2.0)
    assert criterion(x, z, y).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("returns", "head"),
    [("three", 1), ("dict", "dist"), ("ordered", "distillation_logits")],
)
def test_dicts_and_longer_tuples_give_the_loss_of_the_pair(returns: str, head: int | str) -> None:
    student, teacher = TwoHeads(), nn.Linear(D, C)
    x, y = batch()
    make = dict(base_criterion=nn.CrossEntropyLoss(), teacher_model=teacher)
    make |= dict(distillation_type="soft", alpha=0.4, tau=2.0)
    expected = DistillationLoss(**make)(x, student(x), y)
    student.returns = returns
    torch.testing.assert_close(DistillationLoss(**make, head=head)(x, student(x), y), expected)


def test_a_dict_with_one_head_learns_both_there() -> None:
    student, teacher = TwoHeads("dict of one"), nn.Linear(D, C)
    x, y = batch()
    criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, "hard")
    torch.testing.assert_close(criterion(x, student(x), y), criterion(x, student.head(x), y))


def test_a_second_head_that_nobody_named_is_not_left_untrained() -> None:
    criterion = DistillationLoss(nn.CrossEntropyLoss(), nn.Linear(D, C), "hard")
    x, y = batch()
    with pytest.raises(InputError, match=r"'distillation_logits' beside 'logits'.*head='dist"):
        criterion(x, TwoHeads("ordered")(x), y)


def test_none_is_the_base_criterion_and_trains_no_distillation_head() -> None:
    student = TwoHeads()
    x, y = batch()
    criterion = DistillationLoss(nn.CrossEntropyLoss())
    loss = criterion(x, student(x), y)
    assert loss.item() == nn.functional.cross_entropy(student.head(x), y).item()
    loss.backward()
    assert student.head.weight.grad.any()
    # A gradient of 0, not none: DDP waits for every parameter.
    assert student.head_dist.weight.grad.eq(0).all()


def test_soft_labels_of_mixup_reach_the_base_criterion_alone() -> None:
    student, teacher = TwoHeads(), nn.Linear(D, C)
    x, _ = batch()
    y = torch.rand(B, C).softmax(-1)
    criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, "hard", alpha=0.5)
    criterion(x, student(x), y)
    hard = nn.functional.cross_entropy(student.head_dist(x), teacher(x).argmax(-1))
    torch.testing.assert_close(criterion.parts["hard"], hard.detach())
    base = nn.functional.cross_entropy(student.head(x), y)
    torch.testing.assert_close(criterion.parts["base"], base.detach())


def test_the_parts_are_reported_unweighted_and_detached() -> None:
    criterion = DistillationLoss(nn.CrossEntropyLoss(), nn.Linear(D, C), "soft", alpha=0.25)
    student = TwoHeads()
    x, y = batch()
    loss = criterion(x, student(x), y)
    assert list(criterion.parts) == ["base", "soft"]
    assert not any(part.requires_grad for part in criterion.parts.values())
    mixed = 0.75 * criterion.parts["base"] + 0.25 * criterion.parts["soft"]
    torch.testing.assert_close(loss.detach(), mixed)


def test_our_own_losses_serve_as_base_criterion() -> None:
    student, teacher = TwoHeads(), nn.Linear(D, C)
    x, y = batch()
    criterion = DistillationLoss(tl.CELoss(label_smoothing=0.1), teacher, "hard", alpha=0.5)
    theirs = DistillationLoss(nn.CrossEntropyLoss(label_smoothing=0.1), teacher, "hard", alpha=0.5)
    torch.testing.assert_close(criterion(x, student(x), y), theirs(x, student(x), y))


# The teacher.


class Moving(nn.Sequential):
    """A teacher that would change by itself in training mode."""

    def __init__(self, classes: int = C) -> None:
        super().__init__(nn.Linear(D, D), nn.BatchNorm1d(D), nn.Dropout(0.5), nn.Linear(D, classes))


def test_training_the_criterion_does_not_train_the_teacher() -> None:
    teacher, student = Moving(), TwoHeads()
    before = {name: t.clone() for name, t in teacher.state_dict().items()}
    criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, "soft", 0.5)
    criterion.train()
    teacher.train()  # not even by somebody else
    x, y = batch()
    first = criterion(x, student(x), y)
    assert not any(part.training for part in teacher.modules())
    assert torch.equal(first, criterion(x, student(x), y))
    first.backward()
    assert all(torch.equal(teacher.state_dict()[name], t) for name, t in before.items())
    assert all(p.grad is None for p in teacher.parameters())


def test_the_teacher_is_in_neither_parameters_nor_state_and_still_moves_along() -> None:
    teacher = Moving()
    criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, "soft", 0.5)
    assert not list(criterion.parameters())
    assert not criterion.state_dict()
    assert teacher not in list(criterion.modules())
    criterion.double()
    assert teacher[0].weight.dtype == torch.float64


def test_closing_gives_the_teachers_module_back() -> None:
    teacher = Moving()
    criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, "hard")
    assert not any(p.requires_grad for p in teacher.parameters())
    criterion.close()
    assert all(p.requires_grad for p in teacher.parameters())
    assert teacher.training


def test_a_teacher_by_name_comes_from_a_file_of_bare_weights(tmp_path) -> None:
    path = tmp_path / "teacher.pt"
    torch.save(create("mlp", num_classes=C, in_channels=1, size=(2, 4)).state_dict(), path)
    options = {"weights": path, "num_classes": C, "in_channels": 1, "size": (2, 4)}
    criterion = DistillationLoss(nn.CrossEntropyLoss(), "mlp", "hard", **options)
    x, y = torch.randn(B, 1, 2, 4), torch.zeros(B, dtype=torch.long)
    assert criterion(x, TwoHeads()(x.flatten(1)), y).isfinite()


def test_a_ready_teacher_is_taken_as_it_is_and_takes_no_options() -> None:
    teacher = tl.FrozenTeacher(nn.Linear(D, C))
    assert DistillationLoss(nn.CrossEntropyLoss(), teacher, "hard").teacher is teacher
    with pytest.raises(TeacherError, match="class_map go with a module or a name, found a ready"):
        DistillationLoss(nn.CrossEntropyLoss(), teacher, "hard", class_map=[0])


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("classes", [C - 2, C + 2])
def test_a_teacher_of_other_classes_is_refused(kind: str, classes: int) -> None:
    criterion = DistillationLoss(nn.CrossEntropyLoss(), nn.Linear(D, classes), kind)
    x, y = batch()
    message = rf"student \[6, 5\] with 5 vs teacher \[6, {classes}\].*class_map"
    with pytest.raises(ShapeError, match=message) as caught:
        criterion(x, TwoHeads()(x), y)
    assert caught.value.exit_code == 2


def test_a_class_map_brings_a_teacher_of_more_classes_to_the_students() -> None:
    teacher, student = nn.Linear(D, C + 4), TwoHeads()
    order = [8, 0, 3, 5, 2]
    criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, "hard", 1.0, class_map=order)
    x, y = batch()
    decision = teacher(x)[:, order].argmax(-1)
    expected = nn.functional.cross_entropy(student.head_dist(x), decision)
    torch.testing.assert_close(criterion(x, student(x), y), expected)


def test_the_teacher_gets_images_as_it_knows_them() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(12, C))
    given = tl.InputSpec(mean=(0.5,) * 3, std=(0.25,) * 3)
    wanted = tl.InputSpec(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    criterion = DistillationLoss(
        nn.CrossEntropyLoss(), teacher, "soft", 1.0, given=given, inputs=wanted
    )
    pixels, y = torch.rand(B, 3, 2, 2), torch.zeros(B, dtype=torch.long)
    z = torch.randn(B, C)
    loss = criterion((pixels - 0.5) / 0.25, z, y)
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (wanted.mean, wanted.std))
    answer = teacher((pixels - mean) / std)
    torch.testing.assert_close(loss, tl.KDLoss(temperature=1.0)(z, answer))


def test_a_teacher_that_answers_with_nan_is_named() -> None:
    class Broken(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * float("nan")

    criterion = DistillationLoss(nn.CrossEntropyLoss(), Broken(D, C), "soft")
    x, y = batch()
    with pytest.raises(NumericalError, match="NaN or \\+inf in 6 of 6 rows"):
        criterion(x, TwoHeads()(x), y)


# Wrong arguments, found at once.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("soft", 7.0, 1.0), "alpha: expected a number from 0 to 1, found 7.0"),
        (("soft", -0.1, 1.0), "alpha: expected a number from 0 to 1"),
        (("soft", 0.5, 0.0), "tau: expected a finite number above 0, found 0.0"),
        (("soft", 0.5, float("nan")), "tau: expected a finite number above 0"),
        (("firm", 0.5, 1.0), "distillation_type: expected one of none, soft, hard, found 'firm'"),
    ],
)
def test_numbers_out_of_range_are_refused_at_construction(arguments, message) -> None:
    with pytest.raises(InputError, match=message) as caught:
        DistillationLoss(nn.CrossEntropyLoss(), nn.Linear(D, C), *arguments)
    assert caught.value.exit_code == 2


def test_distillation_without_a_teacher_and_a_teacher_without_distillation_are_refused() -> None:
    with pytest.raises(TeacherError, match=r'expected a teacher to learn from.*"none"'):
        DistillationLoss(nn.CrossEntropyLoss(), None, "hard")
    with pytest.raises(TeacherError, match="would run for nothing"):
        DistillationLoss(nn.CrossEntropyLoss(), nn.Linear(D, C), "none")


def test_labels_out_of_range_are_named() -> None:
    criterion = DistillationLoss(tl.CELoss(), nn.Linear(D, C), "hard")
    x, y = batch()
    y[0] = C
    with pytest.raises(DataError, match="found label 5"):
        criterion(x, TwoHeads()(x), y)


# Precision and device.


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_half_precision_logits_give_a_float32_loss(kind: str, dtype: torch.dtype) -> None:
    teacher = nn.Linear(D, C)
    x, y = batch()
    outputs = tuple((1e3 * torch.randn(B, C)).to(dtype) for _ in range(2))
    criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, kind, 0.5)
    loss = criterion(x, outputs, y)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, criterion(x, tuple(one.float() for one in outputs), y))


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_autocast_of_any_device_is_followed(kind: str) -> None:
    student, teacher = TwoHeads(), nn.Linear(D, C)
    x, y = batch()
    criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, kind, 0.5)
    expected = criterion(x, student(x), y)
    with torch.autocast("cpu", torch.bfloat16):
        loss = criterion(x, student(x), y)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=0.05, atol=0.05)
    loss.backward()
    assert student.head_dist.weight.grad.isfinite().all()


def test_a_loss_that_is_not_finite_ends_nothing_by_itself() -> None:
    criterion = DistillationLoss(nn.CrossEntropyLoss(), nn.Linear(D, C), "soft")
    x, y = batch()
    outputs = torch.full((B, C), float("nan"), requires_grad=True), torch.zeros(B, C)
    assert criterion(x, outputs, y).isnan()  # the engine, or tl's own loop, decides what to do


@pytest.mark.parametrize("kind", ["none", "soft", "hard"])
def test_an_unknown_variant_is_refused_for_every_kind(kind: str) -> None:
    teacher = None if kind == "none" else nn.Linear(D, C)
    with pytest.raises(InputError, match=r"variant.*'numle'") as error:
        DistillationLoss(nn.CrossEntropyLoss(), teacher, kind, variant="numle")
    assert error.value.exit_code == 2


@pytest.mark.parametrize("kind", ["none", "hard"])
def test_a_variant_of_no_use_is_refused(kind: str) -> None:
    teacher = None if kind == "none" else nn.Linear(D, C)
    with pytest.raises(InputError, match="which only the soft distillation has; leave it out"):
        DistillationLoss(nn.CrossEntropyLoss(), teacher, kind, variant="numel")
