"""Self-attention relations, against loops over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import MiniLMv2Loss


def batch():
    torch.manual_seed(0)
    student = list(torch.randn(3, 2, 4, 6, dtype=torch.float64))
    teacher = list(torch.randn(3, 2, 4, 9, dtype=torch.float64))
    target = torch.tensor([[0, 0, 0, -100], [0, 0, 0, 0]])
    return student, teacher, target


def softmax(scores):
    powers = [math.exp(score) for score in scores]
    return [power / sum(powers) for power in powers]


def relation(x, y, heads, head, a, tokens):
    width = len(x[0]) // heads
    cut = slice(head * width, (head + 1) * width)
    dots = [sum(u * v for u, v in zip(x[a][cut], y[b][cut], strict=True)) for b in tokens]
    return softmax([dot / math.sqrt(width) for dot in dots])


def reference(student, teacher, kept, heads, relations):
    total = 0.0
    for name, weight in relations.items():
        one, other = ("qkv".index(letter) for letter in name)
        for b, tokens in enumerate(kept):
            value = 0.0
            for head in range(heads):
                for a in tokens:
                    q, p = (
                        relation(side[one][b].tolist(), side[other][b].tolist(), heads, head, a,
                                 tokens)
                        for side in (student, teacher)
                    )  # fmt: skip
                    value += sum(u * math.log(u / v) for u, v in zip(p, q, strict=True))
            total += weight * value / (heads * len(tokens)) / len(kept)
    return total


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("relations", [{"qq": 0.5, "vv": 2.0}, {"qk": 1.0, "kq": 0.5}])
def test_equals_the_reference(relations, heads):
    student, teacher, target = batch()
    loss = MiniLMv2Loss(relation_heads=heads, relations=relations)
    expected = reference(student, teacher, [range(3), range(4)], heads, relations)
    assert loss(student, teacher, target).item() == pytest.approx(expected, rel=1e-12)
    expected = reference(student, teacher, [range(4)] * 2, heads, relations)
    assert loss(student, teacher).item() == pytest.approx(expected, rel=1e-12)


def test_a_known_number():
    # Teacher: two orthogonal tokens of length^2 log 3 relate as 3/4 to 1/4. Student: both alike.
    # 3/4 log(3/4 * 2) + 1/4 log(1/4 * 2) for each row and each of the three relations' mean.
    x = torch.eye(2).view(1, 2, 2) * math.sqrt(math.log(3) * math.sqrt(2))
    value = MiniLMv2Loss(relation_heads=1)([torch.zeros(1, 2, 2)] * 3, [x] * 3)
    torch.testing.assert_close(value, torch.tensor(0.75 * math.log(1.5) - 0.25 * math.log(2)))


def test_a_rotation_within_the_heads_changes_nothing():
    student, teacher, target = batch()
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q
    turned = [torch.cat([x[..., :3] @ rotation, x[..., 3:] @ rotation], -1) for x in student]
    loss = MiniLMv2Loss(relation_heads=2, relations={"qq": 1.0, "kk": 1.0})
    teacher = [x[..., :8] for x in teacher]
    torch.testing.assert_close(loss(turned, teacher, target), loss(student, teacher, target))


def test_the_default_is_the_mean_of_three_relations():
    student, teacher, target = batch()
    each = [
        MiniLMv2Loss(relation_heads=3, relations={name: 1.0})(student, teacher, target)
        for name in ("qq", "kk", "vv")
    ]
    mean = torch.stack(each).mean()
    torch.testing.assert_close(MiniLMv2Loss(relation_heads=3)(student, teacher, target), mean)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_padding_counts_nothing_whatever_stands_there(bad):
    student, teacher, target = batch()
    loss = MiniLMv2Loss(relation_heads=3)
    expected = loss(student, teacher, target)
    for tensor in (*student, *teacher):
        tensor[0, 3] = bad
    leaves = [tensor.requires_grad_() for tensor in student]
    value = loss(leaves, teacher, target)
    value.backward()
    torch.testing.assert_close(value, expected)
    assert all(leaf.grad.isfinite().all() and leaf.grad[0, 3].eq(0).all() for leaf in leaves)


def test_sequences_of_padding_count_nothing():
    student, teacher, target = batch()
    loss = MiniLMv2Loss(relation_heads=3)
    target[0] = -100
    alone = loss([x[1:] for x in student], [x[1:] for x in teacher], target[1:])
    torch.testing.assert_close(loss(student, teacher, target), alone)
    leaves = [x.requires_grad_() for x in student]
    value = loss(leaves, teacher, torch.full_like(target, -100))
    value.backward()
    assert value.item() == 0
    assert all(leaf.grad.eq(0).all() for leaf in leaves)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"relation_heads": 0}, r"relation_heads: expected a whole number above 0, found 0"),
        ({"relations": {"qw": 1.0}}, r"relations: expected one of qq, qk, qv, kq.* found 'qw'"),
        ({"relations": {"qq": -1.0}}, r"relations\['qq'\]: expected a finite number of at least 0"),
        ({"relations": {}}, r"relations: expected a weight above 0, found {}"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        MiniLMv2Loss(**options)


def test_what_does_not_fit_is_refused():
    student, teacher, _ = batch()
    with pytest.raises(ShapeError, match=r"widths that relation_heads=2 divides, found student"):
        MiniLMv2Loss(relation_heads=2)(student, teacher)
    with pytest.raises(ShapeError, match=r"found student \[2, 4, 6\] vs teacher \[2, 3, 9\]"):
        MiniLMv2Loss(relation_heads=3)(student, [x[:, :3] for x in teacher])
    with pytest.raises(InputError, match=r"three layers \(queries, keys, values\), found 2 of the"):
        MiniLMv2Loss(relation_heads=3)(student[:2], teacher)
