"""KD, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import KDLoss
from tutelage.losses.logits.kd import tempered_divergence


def softmax(logits, temperature):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def reference(student, teacher, temperature, variant):
    """T^2 KL(p || q) for one row of logits."""
    q, p = softmax(student, temperature), softmax(teacher, temperature)
    if variant == "cross-entropy":
        total = -sum(p_c * math.log(q_c) for p_c, q_c in zip(p, q, strict=True))
    else:
        total = sum(p_c * math.log(p_c / q_c) for p_c, q_c in zip(p, q, strict=True))
    return temperature**2 * total / (len(p) if variant == "numel" else 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", ["paper", "numel", "cross-entropy"])
@pytest.mark.parametrize("temperature", [0.5, 1, 4.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, variant, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(shape, dtype=dtype), 2 * torch.randn(shape, dtype=dtype)
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [reference(*row, temperature, variant) for row in rows]
    expected = torch.tensor(values, dtype=dtype).view(shape[:-1])
    found = tempered_divergence(student, teacher, temperature=temperature, variant=variant)
    torch.testing.assert_close(found, expected)
    loss = KDLoss(temperature=temperature, variant=variant)
    torch.testing.assert_close(loss(student, teacher), expected.mean())


def test_a_known_number():
    # At T = 2: p = softmax([0, log 3]) = [1/4, 3/4], q = [1/2, 1/2], so the value is
    # 4 * (1/4 log 1/2 + 3/4 log 3/2) = 3 log 3 - 4 log 2.
    teacher = torch.tensor([[0.0, 2 * math.log(3)]])
    value = KDLoss(temperature=2.0)(torch.zeros(1, 2), teacher)
    torch.testing.assert_close(value, torch.tensor(3 * math.log(3) - 4 * math.log(2)))


def test_a_constant_added_to_the_logits_changes_nothing():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    loss = KDLoss()
    shifted = loss(student + torch.arange(4)[:, None], teacher - 3)
    torch.testing.assert_close(shifted, loss(student, teacher))


def test_the_gradient_is_that_of_equation_2():
    student = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(4, 5, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(KDLoss(temperature=3.0)(student, teacher), student)
    q, p = (student / 3).softmax(-1), (teacher / 3).softmax(-1)
    torch.testing.assert_close(gradient, 3 * (q - p) / 4)


def test_at_high_temperature_it_is_half_the_centred_squared_error():
    # The Taylor expansion of section 2.1 of the paper: T^2 KL -> 1/(2C) sum_c (s_c - t_c)^2.
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    student, teacher = (z - z.mean(-1, keepdim=True) for z in (student, teacher))
    limit = (student - teacher).square().mean() / 2
    torch.testing.assert_close(KDLoss(temperature=1e4)(student, teacher), limit, rtol=1e-3, atol=0)


def test_a_class_without_teacher_mass_counts_nothing_whatever_the_student_says():
    teacher = torch.tensor([[1.0, 2.0, -torch.inf]])
    for logit in (0.0, -torch.inf):
        student = torch.tensor([[0.5, -0.5, logit]], requires_grad=True)
        value = KDLoss(temperature=1.0)(student, teacher)
        value.backward()
        assert value.isfinite()
        assert student.grad.isfinite().all()
    # Now both see two classes only.
    torch.testing.assert_close(
        value.detach(), KDLoss(temperature=1.0)(student.detach()[:, :2], teacher[:, :2])
    )


def test_a_class_that_only_the_student_rules_out_is_infinitely_wrong():
    student, teacher = torch.tensor([[0.0, -torch.inf]]), torch.zeros(1, 2)
    assert KDLoss()(student, teacher).item() == math.inf


@pytest.mark.parametrize("variant", ["paper", "numel", "cross-entropy"])
def test_dropped_positions_count_nothing(variant):
    student, teacher = torch.randn(2, 3, 4, 5)
    student[0, 1, 2] = -torch.inf
    target = torch.zeros(3, 4, dtype=torch.long)
    target[0, 1] = target[2, 2] = -100
    kept = target != -100
    loss = KDLoss(variant=variant)
    torch.testing.assert_close(loss(student, teacher, target), loss(student[kept], teacher[kept]))


def test_a_batch_without_kept_positions_is_zero_with_its_graph():
    student = torch.randn(4, 5, requires_grad=True)
    value = KDLoss(ignore_index=7)(student, torch.randn(4, 5), torch.full((4,), 7))
    value.backward()
    assert value.item() == 0
    assert student.grad.eq(0).all()


def test_soft_targets_drop_nothing():
    student, teacher = torch.randn(2, 4, 5)
    soft = torch.full((4, 5), -100.0)
    assert KDLoss()(student, teacher, soft) == KDLoss()(student, teacher)


def test_a_schedule_moves_the_temperature():
    def schedule(step):
        return 1.0 + step

    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    loss = KDLoss(temperature=schedule)
    for step, temperature in [(0, 1.0), (3, 4.0)]:
        loss.set_step(step)
        fixed = KDLoss(temperature=temperature)(student, teacher)
        torch.testing.assert_close(loss(student, teacher), fixed)
    assert loss.is_scheduled
    assert "schedule" in repr(loss)
    assert "temperature" not in loss.state_dict()


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), lambda step: 0.0])
def test_a_temperature_outside_its_range_is_refused(temperature):
    with pytest.raises(InputError, match=r"KDLoss.temperature: expected a finite number above 0"):
        KDLoss(temperature=temperature)


def test_an_unknown_variant_is_refused():
    with pytest.raises(InputError, match="expected one of paper, numel, cross-entropy, found 'me'"):
        KDLoss(variant="me")


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ((4, 5), (4, 6), r"found student \[4, 5\] vs teacher \[4, 6\]; both need the same classes"),
        ((4, 5), (1, 5), r"found student \[4, 5\] vs teacher \[1, 5\]"),
        ((4, 1), (4, 1), r"at least two classes, found \[4, 1\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(student, teacher, message):
    with pytest.raises(ShapeError, match=message):
        KDLoss()(torch.zeros(student), torch.zeros(teacher))


def test_no_epsilon_makes_the_divergence_from_itself_other_than_zero():
    torch.manual_seed(0)
    logits = 5 * torch.randn(64, 10, dtype=torch.float64)
    values = tempered_divergence(logits, logits.clone(), temperature=3.0)
    assert values.abs().max() < 1e-14


def test_classes_of_next_to_no_teacher_mass_count():
    # The teacher's 1e-9 against the student's 1e-29: 1e-9 * 20 ln 10, below any usual epsilon.
    teacher = torch.tensor([[0.0, math.log(1e-9)]], dtype=torch.float64)
    student = torch.tensor([[0.0, math.log(1e-29)]], dtype=torch.float64)
    value = KDLoss(temperature=1.0)(student, teacher)
    assert value.item() == pytest.approx(1e-9 * (20 * math.log(10) - 1), rel=1e-6)
