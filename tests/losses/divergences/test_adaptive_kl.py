"""Adaptive KL, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import AdaptiveKLLoss, KDLoss, ReverseKLLoss
from tutelage.losses.divergences.adaptive_kl import adaptive_divergence


def softmax(logits, temperature=1.0):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def kl(a, b):
    return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x)


def by_row(student, teacher, of_row):
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [of_row(*row) for row in rows]
    return torch.tensor(values, dtype=student.dtype).view(student.shape[:-1])


def head_of(p, threshold, variant):
    """The classes of the head, found one by one from the likeliest or the least likely."""
    order = sorted(range(len(p)), key=p.__getitem__, reverse=variant == "descending")
    first, total = [], 0.0
    for c in order:
        total += p[c]
        if total > threshold:
            break
        first.append(c)
    if variant == "descending":
        return set(first) | {order[0]}
    return set(order) - set(first)


def reference(p, q, threshold, variant):
    head = head_of(p, threshold, variant)
    gaps = [abs(x - y) for x, y in zip(p, q, strict=True)]
    share = sum(gaps[c] for c in head) / sum(gaps)
    return share * kl(p, q) + (1 - share) * kl(q, p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", ["descending", "ascending"])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, threshold, variant, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=dtype)

    def of_row(s, t):
        sides = softmax(t, temperature), softmax(s, temperature)
        return temperature**2 * reference(*sides, threshold, variant)

    if threshold == 1:  # rounding decides whether all classes together reach 1
        threshold = 1 - 1e-4
    expected = by_row(student, teacher, of_row)
    options = {"threshold": threshold, "variant": variant, "temperature": temperature}
    torch.testing.assert_close(adaptive_divergence(student, teacher, **options), expected)
    torch.testing.assert_close(AdaptiveKLLoss(**options)(student, teacher), expected.mean())


@pytest.mark.parametrize(("variant", "share"), [("descending", 0.5), ("ascending", 0.75)])
def test_the_variants_differ_in_the_class_that_crosses_the_threshold(variant, share):
    # p = [0.4, 0.35, 0.25], q = [0.2, 0.45, 0.35]: gaps 0.2, 0.1, 0.1. From above, only the first
    # class stays within a half: 1/2 of the gaps. From below, only the last does: 3/4 are the head.
    p, q = torch.tensor([[0.4, 0.35, 0.25]]), torch.tensor([[0.2, 0.45, 0.35]])
    student, teacher = q.log(), p.log()
    forward, reverse = KDLoss(temperature=1.0)(student, teacher), ReverseKLLoss()(student, teacher)
    value = AdaptiveKLLoss(variant=variant)(student, teacher)
    torch.testing.assert_close(value, share * forward + (1 - share) * reverse)


def test_the_gaps_are_constants_for_the_gradient():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 1, 6, dtype=torch.float64)
    student.requires_grad_()
    value = AdaptiveKLLoss()(student, teacher)
    forward, reverse = KDLoss(temperature=1.0)(student, teacher), ReverseKLLoss()(student, teacher)
    share = ((value - reverse) / (forward - reverse)).detach()
    assert 0.01 < share < 0.99
    expected = torch.autograd.grad(share * forward + (1 - share) * reverse, student)
    torch.testing.assert_close(torch.autograd.grad(value, student), expected)


def test_opposite_certainties_stay_finite():
    student = torch.tensor([[1e4, 0.0]], requires_grad=True)
    value = AdaptiveKLLoss()(student, torch.tensor([[0.0, 1e4]]))
    value.backward()
    assert value.item() == 1e4
    assert student.grad.isfinite().all()


def test_rows_that_are_equal_cost_nothing_beside_others():
    student, teacher = torch.randn(2, 3, 5)
    student[1] = teacher[1]
    student.requires_grad_()
    values = adaptive_divergence(student, teacher)
    values.sum().backward()
    assert values[1] == 0
    assert values[0] > 0
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 2}, r"AdaptiveKLLoss.threshold: expected a number from 0 to 1, found 2"),
        ({"variant": "both"}, r"expected one of descending, ascending, found 'both'"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        AdaptiveKLLoss(**options)
