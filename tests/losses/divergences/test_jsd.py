"""Jensen-Shannon divergence, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import JSDLoss, KDLoss, ReverseKLLoss
from tutelage.losses.divergences.jsd import jensen_shannon_divergence


def softmax(logits, temperature=1.0):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def kl(a, b):
    return sum(x * math.log(x / y) for x, y in zip(a, b, strict=True) if x)


def by_row(student, teacher, of_row):
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    values = [of_row(*row) for row in rows]
    return torch.tensor(values, dtype=student.dtype).view(student.shape[:-1])


def reference(p, q, beta, variant):
    m = [beta * x + (1 - beta) * y for x, y in zip(p, q, strict=True)]
    value = beta * kl(p, m) + (1 - beta) * kl(q, m)
    return value / (beta * (1 - beta)) if variant == "scaled" else value


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", ["raw", "scaled"])
@pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
def test_equals_the_reference(shape, temperature, beta, variant, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=dtype)

    def of_row(s, t):
        sides = softmax(t, temperature), softmax(s, temperature)
        return temperature**2 * reference(*sides, beta, variant)

    expected = by_row(student, teacher, of_row)
    options = {"beta": beta, "variant": variant, "temperature": temperature}
    found = jensen_shannon_divergence(student, teacher, **options)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(JSDLoss(**options)(student, teacher), expected.mean())


def test_a_known_number():
    # p = [1, 0], q = [1/2, 1/2], m = [3/4, 1/4]: half of log 4/3 and half of
    # 1/2 log 2/3 + 1/2 log 2 = log 2 - 1/2 log 3 together are 3/2 log 2 - 3/4 log 3.
    value = JSDLoss()(torch.zeros(1, 2), torch.tensor([[1e4, 0.0]]))
    torch.testing.assert_close(value, torch.tensor(1.5 * math.log(2) - 0.75 * math.log(3)))


def test_beta_is_the_weight_of_the_teacher():
    # With a small beta the mixture is nearly the student, and the value beta KL(p || q).
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    value = JSDLoss(beta=1e-6)(student, teacher)
    forward = KDLoss(temperature=1.0)(student, teacher)
    torch.testing.assert_close(value / 1e-6, forward, rtol=1e-4, atol=0)


def test_with_beta_and_the_sides_swapped_it_is_the_same():
    student, teacher = torch.randn(2, 4, 5, dtype=torch.float64)
    for beta in (0.5, 0.2):
        swapped = JSDLoss(beta=1 - beta)(teacher, student)
        torch.testing.assert_close(JSDLoss(beta=beta)(student, teacher), swapped)


def test_it_is_at_most_the_entropy_of_its_weights():
    student, teacher = 30 * torch.randn(2, 500, 3)
    for beta in (0.5, 0.1):
        most = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
        values = jensen_shannon_divergence(student, teacher, beta=beta)
        assert values.min() >= 0
        assert 0.999 * most < values.max() <= most + 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("end", "limit"), [(0.0, KDLoss(temperature=1.0)), (1.0, ReverseKLLoss())])
def test_the_scaled_form_tends_to_a_kl_at_either_end_in_value_and_gradient(end, limit, dtype):
    student, teacher = torch.randn(2, 4, 5, dtype=dtype)
    student.requires_grad_()
    expected = limit(student, teacher)
    (expected_gradient,) = torch.autograd.grad(expected, student)
    for distance, tolerance in [(1e-4, 1e-3), (1e-6, 1e-5), (0.0, 1e-6)]:
        value = JSDLoss(beta=abs(end - distance), variant="scaled")(student, teacher)
        (gradient,) = torch.autograd.grad(value, student)
        torch.testing.assert_close(value, expected, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(gradient, expected_gradient, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("variant", ["raw", "scaled"])
def test_ruled_out_classes_cost_their_share_and_leave_the_gradient_finite(variant):
    student = torch.tensor([[0.0, 1.0, -torch.inf, -torch.inf]], requires_grad=True)
    teacher = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf]])
    p, q = softmax([0.0, 1.0]), softmax([0.0, 1.0])
    expected = reference([p[0], 0.0, p[1]], [q[0], q[1], 0.0], 0.3, variant)
    value = JSDLoss(beta=0.3, variant=variant)(student, teacher)
    value.backward()
    torch.testing.assert_close(value.detach(), torch.tensor(expected))
    assert student.grad.isfinite().all()


def test_eps_is_added_within_each_logarithm():
    s, t, eps = [0.0, 2.0, -9.0], [1.0, -3.0, 0.5], 0.01
    p, q = softmax(t), softmax(s)
    m = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
    sides = [
        side * (math.log(side + eps) - math.log(middle + eps))
        for a in (p, q)
        for side, middle in zip(a, m, strict=True)
    ]
    value = JSDLoss(eps=eps)(torch.tensor([s]), torch.tensor([t]))
    torch.testing.assert_close(value, torch.tensor(sum(sides) / 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0}, r"between 0 and 1 for the raw variant, found 0, .* use variant='scaled'"),
        ({"beta": 1.0}, r"between 0 and 1 for the raw variant, found 1.0"),
        ({"beta": 1.5}, r"JSDLoss.beta: expected a number from 0 to 1, found 1.5"),
        ({"variant": "half"}, r"JSDLoss.variant: expected one of raw, scaled, found 'half'"),
        ({"eps": -1.0}, r"JSDLoss.eps: expected a finite number of at least 0, found -1.0"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        JSDLoss(**options)
