import math

import pytest
import torch
from torch import Tensor

from tutelage import metrics
from tutelage.errors import DataError, InputError, ShapeError


def draw(n: int = 40, classes: int = 5, seed: int = 0, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(n, classes, generator=generator)
    return logits, torch.randint(classes, (n,), generator=generator)


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("classes", [2, 5])
def test_accuracy_and_nll_equal_a_loop_over_samples(classes: int) -> None:
    logits, target = draw(classes=classes)
    right, surprise = 0, 0.0
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        right += row.index(max(row)) == label
        surprise -= math.log(softmax(row)[label])
    assert metrics.accuracy(logits, target).item() == pytest.approx(right / 40)
    assert metrics.nll(logits, target).item() == pytest.approx(surprise / 40, rel=1e-5)


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_ece_equals_a_loop_over_bins(bins: int) -> None:
    logits, target = draw(n=200)
    groups: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for row, label in zip(logits.tolist(), target.tolist(), strict=True):
        confidence = max(softmax(row))
        place = min(int(confidence * bins), bins - 1)
        groups[place].append((confidence, row.index(max(row)) == label))
    expected = 0.0
    for group in groups:
        if group:
            mean_confidence = sum(c for c, _ in group) / len(group)
            mean_right = sum(r for _, r in group) / len(group)
            expected += len(group) / 200 * abs(mean_right - mean_confidence)
    assert metrics.ece(logits, target, bins=bins).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_ece_equals_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    logits, target = draw(n=500)
    theirs = torchmetrics.multiclass_calibration_error(
        logits.softmax(-1), target, num_classes=5, n_bins=15
    )
    torch.testing.assert_close(metrics.ece(logits, target), theirs)


def test_ece_does_not_take_small_logits_for_probabilities() -> None:
    # softmax([1, 0]) is 0.7311, right both times: the error is 1 - 0.7311.
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = metrics.ece(logits, torch.tensor([0, 1])).item()
    assert found == pytest.approx(1 - 1 / (1 + math.exp(-1)))


def test_agreement_equals_a_loop_and_ignores_who_is_right() -> None:
    (student, _), (teacher, _) = draw(), draw(seed=1)
    pairs = zip(student.tolist(), teacher.tolist(), strict=True)
    expected = sum(mine.index(max(mine)) == other.index(max(other)) for mine, other in pairs)
    assert metrics.agreement(student, teacher).item() == pytest.approx(expected / 40)


def test_kl_equals_a_loop_and_is_from_the_teacher_to_the_student() -> None:
    (student, _), (teacher, _) = draw(), draw(seed=1)
    expected = 0.0
    for mine, other in zip(student.tolist(), teacher.tolist(), strict=True):
        q, p = softmax(mine), softmax(other)
        expected += sum(b * math.log(b / a) for a, b in zip(q, p, strict=True)) / 40
    assert metrics.kl_to_teacher(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert metrics.kl_to_teacher(teacher, student).item() != pytest.approx(expected, rel=1e-2)


def test_kl_is_finite_for_a_teacher_that_rules_classes_out() -> None:
    # The teacher is uniform on two classes, the student on three: log(3/2).
    teacher = torch.tensor([[0.0, 0.0, -math.inf]])
    found = metrics.kl_to_teacher(torch.zeros(1, 3), teacher).item()
    assert found == pytest.approx(math.log(1.5))


def test_a_nan_makes_every_number_nan() -> None:
    (student, target), (teacher, _) = draw(), draw(seed=1)
    broken = student.clone()
    broken[3] = math.nan
    for found in (
        *(measure(broken, target) for measure in (metrics.accuracy, metrics.nll, metrics.ece)),
        metrics.agreement(broken, broken),
        metrics.agreement(teacher, broken),
        metrics.kl_to_teacher(broken, teacher),
        metrics.kl_to_teacher(student, broken),
        metrics.kl_to_teacher(student, torch.full_like(student, math.nan)),
    ):
        assert found.isnan()


def test_half_precision_logits_are_judged_in_float32() -> None:
    logits, target = draw(n=300)
    halves = logits.bfloat16()
    assert metrics.nll(halves, target).dtype == torch.float32
    torch.testing.assert_close(metrics.nll(halves, target), metrics.nll(halves.float(), target))
    torch.testing.assert_close(metrics.ece(halves, target), metrics.ece(halves.float(), target))


def test_metrics_do_not_depend_on_the_order_of_the_samples() -> None:
    (student, target), (teacher, _) = draw(), draw(seed=1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    for measure, other in (
        (metrics.accuracy, target),
        (metrics.nll, target),
        (metrics.ece, target),
        (metrics.agreement, teacher),
        (metrics.kl_to_teacher, teacher),
    ):
        torch.testing.assert_close(measure(student, other), measure(student[order], other[order]))


def test_errors_say_what_does_not_fit() -> None:
    logits, target = draw()
    with pytest.raises(ShapeError, match=r"one target for each row of logits \[40, 5\].*\[39\]"):
        metrics.accuracy(logits, target[:-1])
    with pytest.raises(ShapeError, match=r"expected logits \[N, C\], found \[40, 5, 1\]"):
        metrics.nll(logits[..., None], target)
    with pytest.raises(ShapeError, match=r"agreement: .*\[40, 5\] vs teacher \[40, 4\]"):
        metrics.agreement(logits, logits[:, :4])
    with pytest.raises(DataError, match="targets from 0 to 4, found 0 to 7") as caught:
        metrics.ece(logits, target.clamp(max=0) + torch.arange(40).clamp(max=7))
    assert caught.value.exit_code == 3
    with pytest.raises(InputError, match="at least one sample"):
        metrics.accuracy(logits[:0], target[:0])
    with pytest.raises(InputError, match="at least 1 bin, found bins=0"):
        metrics.ece(logits, target, bins=0)
