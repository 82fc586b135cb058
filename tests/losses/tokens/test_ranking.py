"""Ranking of the teacher's top k, against loops over pairs."""

import math
from dataclasses import replace

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import HingeRankingLoss, LogisticRankingLoss, TokenLoss
from tutelage.signals import SparseLogits

LOSSES = [LogisticRankingLoss(k=3), HingeRankingLoss(k=3), HingeRankingLoss(k=3, margin=0.2)]


def softmax(logits):
    powers = [math.exp(z) for z in logits]
    return [power / sum(powers) for power in powers]


def reference(loss, student, ids, p):
    q, costs = softmax(student), []
    for i, first in enumerate(ids):
        for j, second in enumerate(ids):
            if p[i] > p[j] and isinstance(loss, LogisticRankingLoss):
                costs.append(math.log1p(math.exp(student[second] - student[first])))
            elif p[i] > p[j]:
                margin = p[i] - p[j] if loss.margin is None else loss.margin
                costs.append(max(0.0, margin - (q[first] - q[second])))
    return sum(costs) / max(len(costs), 1)


def batch():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 4, 7, dtype=torch.float64)
    return student, teacher, SparseLogits.from_logits(teacher, k=3)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_equals_the_reference(loss):
    student, teacher, sparse = batch()
    p = sparse.log_probs.exp()
    p[0, 1] = p[0, 0]  # a tie: two pairs only
    sparse = replace(sparse, log_probs=p.log())
    rows = zip(student.tolist(), sparse.ids.tolist(), p.tolist(), strict=True)
    values = [reference(loss, *row) for row in rows]
    assert loss(student, sparse).item() == pytest.approx(sum(values) / 4, rel=1e-12)
    dense, some = loss(student[1:], teacher[1:]), values[1:]
    assert dense.item() == pytest.approx(sum(some) / 3, rel=1e-12)


def test_known_numbers():
    # One pair, which the student has the wrong way round by log 3: log(1 + 3); its probabilities
    # are 1/4 and 3/4, the teacher's 5/8 and 1/8: 1/2 + 1/2.
    student = torch.tensor([[0.0, math.log(3)]])
    sparse = SparseLogits(
        torch.tensor([[0, 1]]), torch.tensor([[0.625, 0.125]]).log(), num_classes=2
    )
    torch.testing.assert_close(LogisticRankingLoss()(student, sparse), torch.tensor(math.log(4)))
    torch.testing.assert_close(HingeRankingLoss()(student, sparse), torch.tensor(1.0))


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_the_order_of_the_ids_does_not_count(loss):
    student, _, sparse = batch()
    turned = sparse.map(lambda tensor: tensor.flip(-1))
    torch.testing.assert_close(loss(student, turned), loss(student, sparse))


def test_only_the_order_of_the_teacher_counts_to_the_logistic_cost():
    student, teacher, _ = batch()
    loss = LogisticRankingLoss(k=3)
    torch.testing.assert_close(loss(student, 5 * teacher - 2), loss(student, teacher))


def test_a_right_order_with_wide_gaps_costs_nothing():
    _, teacher, _ = batch()
    assert LogisticRankingLoss(k=7)(1e4 * teacher, teacher).item() < 1e-30
    # A student as sure as the teacher has the gaps it asks for, whatever its other classes.
    assert HingeRankingLoss(k=7)(teacher + 3, teacher).item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_teacher_without_order_costs_nothing(loss):
    student, _, _ = batch()
    value = loss(student.requires_grad_(), torch.zeros_like(student))
    value.backward()
    assert value.item() == 0
    assert student.grad.eq(0).all()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_it_stands_among_tokens(loss):
    student, _, sparse = batch()
    target = torch.tensor([[1, -100, 3, 4]])
    kept = [2, 3]
    tokens = sparse.map(lambda tensor: tensor[None])
    value = TokenLoss(loss, shift=0)(student[None], tokens, target)
    alone = loss(student[[0, *kept]], sparse.rows(torch.tensor([0, *kept])))
    torch.testing.assert_close(value, alone)


def test_what_does_not_fit_is_refused():
    student, teacher, sparse = batch()
    with pytest.raises(InputError, match=r"HingeRankingLoss.k: expected a whole number of at lea"):
        HingeRankingLoss(k=1)
    with pytest.raises(InputError, match=r"HingeRankingLoss.margin: expected a finite number of"):
        HingeRankingLoss(margin=-0.1)
    with pytest.raises(ShapeError, match=r"LogisticRankingLoss: .* found student \[3, 7\] vs"):
        LogisticRankingLoss()(student[:3], sparse)
    with pytest.raises(ShapeError, match=r"found student \[4, 7\] vs teacher \[4, 6\]"):
        HingeRankingLoss()(student, teacher[:, :6])
