"""Wasserstein distance between predictions, against loops over Python floats."""

import math

import pytest
import torch
from torch import nn

from tutelage import Distiller, FrozenTeacher, Term
from tutelage.errors import InputError, ShapeError
from tutelage.losses import WKDLogitsLoss
from tutelage.losses.logits.class_costs import class_costs
from tutelage.losses.logits.wkd_logits import separated_transport


def softened(logits, temperature=1.0):
    exponentials = [math.exp(z / temperature) for z in logits]
    return [e / sum(exponentials) for e in exponentials]


def sinkhorn(a, b, cost, epsilon, iterations):
    """The plain form: u and v themselves, the plan written out."""
    n = range(len(a))
    kernel = [[math.exp(-cost[i][j] / epsilon) for j in n] for i in n]
    u = [1.0 for _ in n]
    for _ in range(iterations):
        v = [b[j] / sum(kernel[i][j] * u[i] for i in n) for j in n]
        u = [a[i] / sum(kernel[i][j] * v[j] for j in n) for i in n]
    return sum(u[i] * kernel[i][j] * v[j] * cost[i][j] for i in n for j in n)


def reference(student, teacher, label, cost, temperature, weight, epsilon, iterations):
    p, q = softened(teacher), softened(student)
    others = [c for c in range(len(p)) if c != label]
    a = softened([student[c] for c in others], temperature)
    b = softened([teacher[c] for c in others], temperature)
    between = [[cost[i][j] for j in others] for i in others]
    moved = sinkhorn(a, b, between, epsilon, iterations)
    return -p[label] * math.log(q[label]) + weight * moved


def drawn(*shape, classes=5):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, classes, dtype=torch.float64)
    cost = class_costs(torch.randn(classes, 8, dtype=torch.float64))
    return student, teacher, torch.randint(classes, shape), cost


@pytest.mark.parametrize("shape", [(6,), (3, 4)])
@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize(
    ("temperature", "weight", "epsilon", "iterations"),
    [(2.0, 30.0, 0.05, 10), (1.0, 1.0, 0.2, 3), (8.0, 600.0, 0.05, 1)],
)
def test_equals_the_reference(shape, classes, temperature, weight, epsilon, iterations):
    student, teacher, target, cost = drawn(*shape, classes=classes)
    rows = zip(
        student.flatten(0, -2).tolist(),
        teacher.flatten(0, -2).tolist(),
        target.flatten().tolist(),
        strict=True,
    )
    options = (cost.tolist(), temperature, weight, epsilon, iterations)
    expected = [reference(*row, *options) for row in rows]
    loss = WKDLogitsLoss(
        temperature=temperature,
        transport_weight=weight,
        cost=cost,
        epsilon=epsilon,
        iterations=iterations,
    )
    found = loss(student, teacher, target)
    assert found.item() == pytest.approx(sum(expected) / len(expected), rel=1e-9)


def test_a_known_number():
    # Label 0. Of the others the student is sure of 1 and the teacher of 2, so all moves from 1 to
    # 2 at 0.3. p_0 and q_0 are 0 beside them, so the first part is 0.
    cost = torch.tensor([[0.0, 0.9, 0.9], [0.9, 0.0, 0.3], [0.9, 0.3, 0.0]])
    student, teacher = torch.tensor([[0.0, 1e3, 0.0]]), torch.tensor([[0.0, 0.0, 1e3]])
    loss = WKDLogitsLoss(cost=cost, transport_weight=10.0)
    torch.testing.assert_close(loss(student, teacher, torch.tensor([0])), torch.tensor(3.0))


def test_the_cost_may_be_given_in_rows_as_a_recipe_writes_it():
    student, teacher, target, cost = drawn(6)
    in_rows = WKDLogitsLoss(cost=cost.float().tolist())
    expected = WKDLogitsLoss(cost=cost.float())(student, teacher, target)
    torch.testing.assert_close(in_rows(student, teacher, target), expected)


def test_a_free_transport_leaves_the_true_class_alone():
    student, teacher, target, _ = drawn(6)
    value = WKDLogitsLoss(cost=torch.zeros(5, 5))(student, teacher, target)
    p = teacher.softmax(-1)[range(6), target]
    expected = -(p * student.log_softmax(-1)[range(6), target]).mean()
    torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1e4, 1e-4])
def test_extreme_logits_and_the_steepest_kernel_stay_finite(dtype, size):
    student, teacher, target, _ = drawn(6)
    student = (size * student.sign()).to(dtype).requires_grad_()
    cost = 3 * (1 - torch.eye(5))
    value = WKDLogitsLoss(cost=cost)(student, (-size * teacher.sign()).to(dtype), target)
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_float32_agrees_with_float64_at_the_steepest_kernel():
    student, teacher, target, _ = drawn(64)
    cost = 3 * torch.rand(5, 5).fill_diagonal_(0.0)
    loss = WKDLogitsLoss(cost=cost.clamp(max=3.0))
    exact = loss(student, teacher, target)
    found = loss(student.float(), teacher.float(), target)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_teacher_that_rules_all_others_out_moves_nothing():
    student, teacher, target, cost = drawn(6)
    teacher = torch.full_like(teacher, -torch.inf)
    teacher[range(6), target] = 0.0
    student.requires_grad_()
    value = WKDLogitsLoss(cost=cost)(student, teacher, target)
    value.backward()
    torch.testing.assert_close(value, torch.nn.functional.cross_entropy(student, target))
    assert student.grad.isfinite().all()


def test_the_cost_comes_from_the_teachers_classifier():
    student, net = nn.Linear(4, 5), nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 5))
    loss = WKDLogitsLoss(similarity="cka")
    assert not loss.has_borrowed
    with FrozenTeacher(net) as teacher:
        distiller = Distiller(student, teacher, [Term(loss, borrow="2")])
        distiller(torch.randn(3, 4), torch.tensor([0, 1, 4])).loss.backward()
    assert loss.has_borrowed
    torch.testing.assert_close(loss.cost, class_costs(net[2].weight, similarity="cka"))
    assert not loss.cost.requires_grad
    assert not loss.state_dict()
    assert student.weight.grad.ne(0).any()


def test_what_it_needs_is_asked_for():
    student, teacher, target, cost = drawn(6)
    with pytest.raises(InputError, match="expected to borrow the teacher's classifier, a linear"):
        WKDLogitsLoss()(student, teacher, target)
    with pytest.raises(InputError, match=r"WKDLogitsLoss: expected class targets"):
        WKDLogitsLoss(cost=cost)(student, teacher)
    with pytest.raises(InputError, match="found ReLU; name the last layer"):
        WKDLogitsLoss().borrow(nn.ReLU())
    with pytest.raises(InputError, match="has a cost=; leave out that, or borrow="):
        WKDLogitsLoss(cost=cost).borrow(nn.Linear(3, 5))
    with pytest.raises(ShapeError, match=r"expected logits of the 4 classes of its cost"):
        WKDLogitsLoss(cost=cost[:4, :4])(student, teacher, target)
    with pytest.raises(ShapeError, match=r"found student \[6, 5\] vs teacher \[1, 5\]"):
        separated_transport(student, teacher[:1], target, cost)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost": torch.zeros(3, 4)}, r"WKDLogitsLoss.cost: expected a matrix \[C, C\], found"),
        ({"cost": -torch.eye(3)}, "WKDLogitsLoss.cost: expected finite numbers of at least 0"),
        ({"cost": torch.eye(3) * torch.nan}, "WKDLogitsLoss.cost: expected finite numbers"),
        ({"cost": torch.eye(3), "epsilon": 0.01}, r"epsilon: expected at least 0.0167, 1/60 of"),
        ({"epsilon": 0.0}, "WKDLogitsLoss.epsilon: expected a finite number above 0"),
        ({"iterations": 0}, "WKDLogitsLoss.iterations: expected a whole number of at least 1"),
        ({"iterations": 2.5}, "WKDLogitsLoss.iterations: expected a whole number of at least 1"),
        ({"similarity": "dot"}, "WKDLogitsLoss.similarity: expected one of cosine, cka"),
        ({"temperature": 0.0}, "WKDLogitsLoss.temperature: expected a finite number above 0"),
        ({"transport_weight": -1.0}, "WKDLogitsLoss.transport_weight: expected a finite number of"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises((InputError, ShapeError), match=message):
        WKDLogitsLoss(**options)
