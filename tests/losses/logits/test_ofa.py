"""One-for-all distillation, against a loop over Python floats."""

import math

import pytest
import torch
from torch.nn import functional as F

from tutelage.errors import DataError, InputError
from tutelage.losses import KDLoss, OFALoss
from tutelage.losses.logits.ofa import enhanced_cross_entropy


def softened(logits, temperature):
    exponentials = [math.exp(z / temperature) for z in logits]
    return [e / sum(exponentials) for e in exponentials]


def reference(student, teacher, label, gamma, temperature):
    """-sum_c [(p_c + 1_y)^gamma - 1_y] log q_c for one row."""
    p, q = softened(teacher, temperature), softened(student, temperature)
    value = 0.0
    for c in range(len(p)):
        hit = 1.0 if c == label else 0.0
        value -= ((p[c] + hit) ** gamma - hit) * math.log(q[c])
    return value


@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
@pytest.mark.parametrize(("gamma", "temperature"), [(1.0, 1.0), (1.5, 1.0), (0.5, 3.0), (3.0, 2.0)])
def test_equals_the_reference(shape, gamma, temperature):
    student, teacher = torch.randn(2, *shape, dtype=torch.float64)
    target = torch.randint(shape[-1], shape[:-1])
    rows = zip(
        student.flatten(0, -2).tolist(),
        teacher.flatten(0, -2).tolist(),
        target.flatten().tolist(),
        strict=True,
    )
    expected = [reference(*row, gamma, temperature) for row in rows]
    found = enhanced_cross_entropy(student, teacher, target, gamma=gamma, temperature=temperature)
    torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=torch.float64))
    loss = OFALoss(gamma=gamma, temperature=temperature)
    assert loss(student, teacher, target).item() == pytest.approx(sum(expected) / len(expected))


def test_a_known_number():
    # p = [1/4, 3/4], q = [1/2, 1/2], y = 1, gamma = 2: (1/16 + 49/16 - 1) log 2 = 17/8 log 2.
    student, teacher = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]])
    value = OFALoss(gamma=2.0)(student, teacher, torch.tensor([1]))
    torch.testing.assert_close(value, torch.tensor(17 / 8 * math.log(2)))


def test_without_an_exponent_it_is_the_cross_entropy_with_the_teacher():
    student, teacher = torch.randn(2, 6, 5)
    target = torch.randint(5, (6,))
    expected = KDLoss(temperature=1.0, variant="cross-entropy")(student, teacher)
    torch.testing.assert_close(OFALoss(gamma=1.0)(student, teacher, target), expected)


def test_the_value_is_undisturbed_by_constants_added_to_logits():
    student, teacher = torch.randn(2, 6, 5, dtype=torch.float64)
    target = torch.randint(5, (6,))
    loss = OFALoss()
    torch.testing.assert_close(
        loss(student + 3, teacher - 7, target), loss(student, teacher, target)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_teacher_sure_of_the_true_class_asks_for_a_multiple_of_cross_entropy(dtype):
    # p = onehot(y), so the weight of y is 2^gamma - 1 and that of the others is 0.
    student, target = torch.randn(6, 5).to(dtype), torch.randint(5, (6,))
    teacher = 1e4 * F.one_hot(target, 5).to(dtype)
    expected = (2**1.5 - 1) * F.cross_entropy(student.float(), target)
    torch.testing.assert_close(OFALoss()(student, teacher, target), expected)


def test_the_target_is_needed_as_class_indices_in_range():
    logits = torch.zeros(2, 3)
    with pytest.raises(InputError, match="OFALoss: expected class targets, one for each position"):
        OFALoss()(logits, logits)
    with pytest.raises(InputError, match="OFALoss: expected class indices, found probabilities"):
        OFALoss()(logits, logits, torch.full((2, 3), 1 / 3))
    with pytest.raises(DataError, match="found 3"):
        OFALoss()(logits, logits, torch.tensor([0, 3]))


@pytest.mark.parametrize("option", ["gamma", "temperature"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_options_that_are_not_above_zero_are_refused(option, value):
    with pytest.raises(InputError, match=f"OFALoss.{option}: expected a finite number above 0"):
        OFALoss(**{option: value})
