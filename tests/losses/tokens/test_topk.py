"""Divergences from a sparse teacher, against loops over Python floats."""

import math
from dataclasses import replace

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import CELoss, JSDLoss, KDLoss, TokenLoss, TopKLoss
from tutelage.signals import SparseLogits


def softmax(logits, temperature=1.0):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / sum(powers) for power in powers]


def reference(student, ids, kept, temperature, power, outside):
    """T^2 KL for one position, from the teacher's kept probabilities."""
    q = softmax(student, temperature)
    q = [q[i] for i in ids]
    p = [value**power for value in kept]
    if outside == "renormalise":
        q = [value / sum(q) for value in q]
    if outside == "power":
        q, p = [*q, 1 - sum(q)], [*p, (1 - sum(kept)) ** power]
    p = [value / sum(p) for value in p]
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def kept(ids, probs):
    return SparseLogits(torch.tensor(ids), torch.tensor(probs).log(), num_classes=4)


def batch(k=3, temperature=1.0, shape=(4, 9)):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=torch.float64)
    return student, teacher, SparseLogits.from_logits(teacher, k=k, temperature=temperature)


@pytest.mark.parametrize("outside", ["power", "renormalise", "zero"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("shape", [(4, 9), (2, 3, 7)])
def test_equals_the_reference(shape, temperature, outside):
    student, _, sparse = batch(shape=shape, temperature=1.5)
    rows = zip(
        student.flatten(0, -2).tolist(),
        sparse.ids.flatten(0, -2).tolist(),
        sparse.log_probs.flatten(0, -2).exp().tolist(),
        strict=True,
    )
    power = 1.5 / temperature
    values = [reference(*row, temperature, power, outside) for row in rows]
    value = TopKLoss(outside=outside, temperature=temperature)(student, sparse)
    assert value.item() == pytest.approx(sum(values) / len(values), rel=1e-12)


def test_a_known_number():
    # p = [1/2, 1/4 | 1/4] and q uniform over 4 classes, so [1/4, 1/4 | 1/2]: half a log 2 from the
    # first, nothing from the second and minus a quarter of log 2 from the rest.
    sparse = kept([[2, 0]], [[0.5, 0.25]])
    value = TopKLoss()(torch.zeros(1, 4), sparse)
    torch.testing.assert_close(value, torch.tensor(math.log(2) / 4))


@pytest.mark.parametrize("outside", ["tail", "renormalise", "zero"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_all_classes_are_the_dense_loss(outside, temperature):
    student, teacher, _ = batch()
    loss = TopKLoss(k=9, outside=outside, temperature=temperature)
    dense = KDLoss(temperature=temperature)
    torch.testing.assert_close(loss(student, teacher), dense(student, teacher))


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_tail_is_what_the_teacher_gives_the_others_at_that_temperature(temperature):
    student, teacher, _ = batch()
    sparse = SparseLogits.from_logits(teacher, k=3, temperatures=[temperature])
    found = TopKLoss(temperature=temperature)(student, sparse)
    at_once = SparseLogits.from_logits(teacher, k=3, temperature=temperature)
    torch.testing.assert_close(found, TopKLoss(temperature=temperature)(student, at_once))
    with pytest.raises(InputError, match=r"found totals at 1, .* only; .*--temperatures 7"):
        TopKLoss(temperature=7.0)(student, sparse)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_tail_is_exact_where_its_classes_are_equally_likely(temperature):
    # Then merging them into one class loses nothing, whatever the temperature.
    student, teacher, _ = batch()
    ids = teacher.topk(3).indices
    student, teacher = (
        torch.zeros_like(z).scatter(-1, ids, z.gather(-1, ids).abs()) for z in (student, teacher)
    )
    found = TopKLoss(k=3, temperature=temperature)(student, teacher)
    torch.testing.assert_close(found, KDLoss(temperature=temperature)(student, teacher))


def test_merging_classes_never_costs_more_than_telling_them_apart():
    student, teacher, _ = batch(shape=(50, 9))
    values = [TopKLoss(k=k)(student, teacher).item() for k in range(1, 9)]
    assert values == sorted(values)
    # With 8 of 9 the rest is the ninth class itself.
    assert values[-1] == pytest.approx(KDLoss(temperature=1.0)(student, teacher).item(), rel=1e-12)


def test_dense_and_sparse_teachers_give_one_value():
    student, teacher, _ = batch()
    sparse = SparseLogits.from_logits(teacher, k=4, temperature=2.0)
    loss = TopKLoss(k=4, temperature=2.0)
    torch.testing.assert_close(loss(student, sparse), loss(student, teacher), rtol=0, atol=0)


def test_a_constant_added_to_the_students_logits_changes_nothing():
    student, _, sparse = batch()
    torch.testing.assert_close(TopKLoss()(student + 7, sparse), TopKLoss()(student, sparse))


def test_renormalised_the_student_may_say_anything_elsewhere():
    student, _, sparse = batch()
    student.requires_grad_()
    TopKLoss(outside="renormalise")(student, sparse).backward()
    others = torch.ones_like(student, dtype=torch.bool).scatter(-1, sparse.ids, False)
    assert student.grad[others].abs().max() < 1e-15
    student.grad = None
    TopKLoss(outside="tail")(student, sparse).backward()
    assert student.grad[others].abs().min() > 1e-6


def test_another_divergence_takes_its_place():
    # Equal shares: JSD of p = [1/2, 1/2 | 0] and q = [0, 0 | 1] is its bound, log 2.
    sparse = kept([[0, 1]], [[0.5, 0.5]])
    student = torch.tensor([[-1e3, -1e3, 0.0, 0.0]])
    for outside in ("tail", "zero"):
        value = TopKLoss(JSDLoss(), outside=outside)(student, sparse)
        torch.testing.assert_close(value, torch.tensor(math.log(2)), atol=1e-5, rtol=0)


def test_a_student_without_a_tail_stays_finite_in_every_precision():
    sparse = kept([[0, 1]], [[0.4, 0.4]])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        student = torch.tensor([[1e4, 1e4, -1e4, -1e4]], dtype=dtype, requires_grad=True)
        value = TopKLoss()(student, sparse)
        value.backward()
        assert value.isfinite()
        assert value > 1
        assert student.grad.isfinite().all()


def test_tokens_are_shifted_on_both_sides():
    student, teacher, sparse = batch(shape=(2, 5, 9))
    target = torch.tensor([[0, 1, -100, 3, 4], [-100, -100, 5, 6, 7]])
    loss = TokenLoss(TopKLoss(k=3), shift=1)
    value = loss(student, sparse, target)
    torch.testing.assert_close(value, loss(student, teacher, target))
    kept = target[:, 1:] != -100
    alone = TopKLoss(k=3)(student[:, :-1][kept], teacher[:, :-1][kept])
    torch.testing.assert_close(value, alone)


def test_no_gradient_reaches_the_log_probabilities():
    student, _, sparse = batch()
    sparse = replace(sparse, log_probs=sparse.log_probs.requires_grad_())
    TopKLoss()(student.requires_grad_(), sparse).backward()
    assert sparse.log_probs.grad is None


def test_a_sparse_teacher_keeps_the_likeliest_with_their_true_mass():
    _, teacher, sparse = batch(k=2, temperature=2.0)
    p = (teacher / 2).softmax(-1)
    torch.testing.assert_close(sparse.log_probs.exp(), p.topk(2).values)
    torch.testing.assert_close(sparse.log_probs, p.gather(-1, sparse.ids).log())
    assert SparseLogits.from_logits(teacher, k=99).ids.shape == (4, 9)


def test_a_schedule_moves_the_temperature():
    student, teacher, _ = batch()
    loss = TopKLoss(k=3, temperature=lambda step: 1.0 + step)
    loss.set_step(2)
    expected = TopKLoss(k=3, temperature=3.0)(student, teacher)
    torch.testing.assert_close(loss(student, teacher), expected)


@pytest.mark.parametrize(
    ("loss", "options", "message"),
    [
        (None, {"k": 0}, r"TopKLoss.k: expected a whole number above 0, found 0"),
        (None, {"k": 1, "outside": "renormalise"}, r"at least 2 for outside='renormalise'"),
        (None, {"outside": "me"}, r"expected one of tail, power, renormalise, zero, found 'me'"),
        (None, {"temperature": 0.0}, r"TopKLoss.temperature: expected a finite number above 0"),
        (CELoss(), {}, r"expected a divergence between student and teacher"),
        (KDLoss(), {}, r"expected temperature=1, found KDLoss.*softened already"),
    ],
)
def test_options_out_of_range_are_refused(loss, options, message):
    with pytest.raises(InputError, match=message):
        TopKLoss(loss, **options)


@pytest.mark.parametrize("rows", [slice(1), slice(0, 3)])
def test_a_teacher_of_other_tokens_is_refused(rows):
    student, teacher, sparse = batch()
    fewer = sparse.map(lambda tensor: tensor[rows])
    with pytest.raises(
        ShapeError, match=r"found student \[4, 9\] vs teacher's ids .* same samples"
    ):
        TopKLoss()(student, fewer)
    with pytest.raises(ShapeError, match=r"found student \[4, 9\] vs teacher"):
        TopKLoss()(student, teacher[rows])
