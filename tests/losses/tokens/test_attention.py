"""Losses of attention, against loops over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import AttentionCELoss, AttentionMSELoss


def batch():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 2, 4, 4, dtype=torch.float64)
    target = torch.zeros(3, 4, dtype=torch.long)
    target[0, 2:] = target[1, 0] = -100
    return student, teacher, target


def softmax(scores):
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def squared(student, teacher, kept):
    total = count = 0
    for b, tokens in enumerate(kept):
        for head in range(student.shape[1]):
            for i in tokens:
                for j in tokens:
                    total += (student[b, head, i, j].item() - teacher[b, head, i, j].item()) ** 2
                    count += 1
    return total / count


def cross_entropy(student, teacher, kept, variant):
    values = []
    for b, tokens in enumerate(kept):
        for head in range(student.shape[1]):
            for i in tokens:
                s, t = student[b, head, i].tolist(), teacher[b, head, i].tolist()
                if variant == "masked":
                    q, p = softmax([s[j] for j in tokens]), softmax([t[j] for j in tokens])
                else:
                    q, p = ([softmax(z)[j] for j in tokens] for z in (s, t))
                values.append(-sum(a * math.log(b) for a, b in zip(p, q, strict=True)))
    return sum(values) / len(values)


KEPT = [[0, 1], [1, 2, 3], [0, 1, 2, 3]]
LOSSES = [AttentionMSELoss(), AttentionCELoss(), AttentionCELoss(variant="textbrewer")]


def test_scores_equal_the_reference():
    student, teacher, target = batch()
    value = AttentionMSELoss()(student, teacher, target)
    assert value.item() == pytest.approx(squared(student, teacher, KEPT), rel=1e-12)
    value = AttentionMSELoss()(student, teacher)
    assert value.item() == pytest.approx(squared(student, teacher, [range(4)] * 3), rel=1e-12)


@pytest.mark.parametrize("variant", ["masked", "textbrewer"])
def test_distributions_equal_the_reference(variant):
    student, teacher, target = batch()
    loss = AttentionCELoss(variant=variant)
    expected = cross_entropy(student, teacher, KEPT, variant)
    assert loss(student, teacher, target).item() == pytest.approx(expected, rel=1e-12)
    expected = cross_entropy(student, teacher, [range(4)] * 3, variant)
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_known_numbers():
    # Scores: 3 and 1 off in a map of four. Distributions: an even student pays log 2.
    student = torch.zeros(1, 1, 2, 2)
    teacher = torch.tensor([[[[3.0, 0.0], [0.0, 1.0]]]])
    assert AttentionMSELoss()(student, teacher).item() == 2.5
    torch.testing.assert_close(AttentionCELoss()(student, teacher), torch.tensor(math.log(2)))


def test_scores_that_a_mask_has_lowered_are_none():
    student, teacher, _ = batch()
    student[0, 0, 0, 0], teacher[0, 0, 0, 0] = 0, 0
    expected = AttentionMSELoss()(student, teacher)
    student[0, 0, 0, 0], teacher[0, 0, 0, 0] = -100, -torch.inf
    value = AttentionMSELoss(floor=-100)(student.requires_grad_(), teacher)
    value.backward()
    torch.testing.assert_close(value, expected)
    assert student.grad[0, 0, 0, 0] == 0


def test_the_softmax_does_not_see_a_constant_but_the_scores_do():
    student, teacher, target = batch()
    loss = AttentionCELoss()
    torch.testing.assert_close(loss(student + 3, teacher, target), loss(student, teacher, target))
    assert AttentionMSELoss()(student + 3, student, target).item() == pytest.approx(9)


def test_masked_it_is_the_loss_of_the_shorter_sequence():
    student, teacher, target = batch()
    short = [z[:1, :, :2, :2] for z in (student, teacher)]
    for loss in (AttentionMSELoss(), AttentionCELoss()):
        torch.testing.assert_close(loss(student[:1], teacher[:1], target[:1]), loss(*short))


@pytest.mark.parametrize("loss", LOSSES[:2], ids=lambda loss: loss.name)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_padding_counts_nothing_whatever_stands_there(loss, bad):
    student, teacher, target = batch()
    expected = loss(student, teacher, target)
    for b, dropped in enumerate(target != 0):
        for side in (student, teacher):
            side[b, :, dropped] = bad
            side[b, :, :, dropped] = bad
    value = loss(student.requires_grad_(), teacher, target)
    value.backward()
    torch.testing.assert_close(value, expected)
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_batch_of_padding_is_zero_with_its_graph(loss):
    student, teacher, target = batch()
    value = loss(student.requires_grad_(), teacher, torch.full_like(target, -100))
    value.backward()
    assert value.item() == 0
    assert student.grad.eq(0).all()


def test_causal_models_may_rule_keys_out():
    student, teacher, target = batch()
    future = torch.ones(4, 4, dtype=torch.bool).triu(1)
    student, teacher = (z.masked_fill(future, -torch.inf) for z in (student, teacher))
    value = AttentionCELoss()(student.requires_grad_(), teacher, torch.zeros_like(target))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


def test_what_does_not_fit_is_refused():
    student, teacher, _ = batch()
    with pytest.raises(ShapeError, match=r"found student \[3, 2, 4, 4\] vs teacher \[3, 1, 4, 4\]"):
        AttentionMSELoss()(student, teacher[:, :1])
    with pytest.raises(ShapeError, match=r"AttentionCELoss: expected attention scores \[B, heads"):
        AttentionCELoss()(student[:, 0], teacher[:, 0])
    with pytest.raises(InputError, match=r"AttentionMSELoss.floor: expected a finite number"):
        AttentionMSELoss(floor=-math.inf)
    with pytest.raises(InputError, match="expected one of masked, textbrewer, found 'paper'"):
        AttentionCELoss(variant="paper")
