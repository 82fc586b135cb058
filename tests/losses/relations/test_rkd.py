"""Relational distillation, against loops over pairs and triplets of Python floats."""

import math
from itertools import product

import pytest
import torch

from tutelage.errors import InputError
from tutelage.losses import RKDLoss
from tutelage.losses.relations import rkd
from tutelage.losses.relations.rkd import angle, distance


def huber(x, delta):
    return x * x / 2 if abs(x) < delta else delta * (abs(x) - delta / 2)


def relative(rows):
    apart = [[math.dist(x, y) for y in rows] for x in rows]
    mean = sum(map(sum, apart)) / (len(rows) * (len(rows) - 1))
    return [d / mean for row in apart for d in row]


def distance_reference(student, teacher, delta):
    pairs = zip(relative(student), relative(teacher), strict=True)
    return sum(huber(s - t, delta) for s, t in pairs) / len(student) ** 2


def cosine(rows, i, j, k):
    u = [a - b for a, b in zip(rows[j], rows[i], strict=True)]
    v = [a - b for a, b in zip(rows[k], rows[i], strict=True)]
    lengths = math.hypot(*u) * math.hypot(*v)
    return sum(a * b for a, b in zip(u, v, strict=True)) / lengths if lengths else 0.0


def angle_reference(student, teacher, delta):
    triplets = product(range(len(student)), repeat=3)
    values = [huber(cosine(student, *ijk) - cosine(teacher, *ijk), delta) for ijk in triplets]
    return sum(values) / len(student) ** 3


@pytest.mark.parametrize("delta", [1.0, 0.2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("function", "reference"), [(distance, distance_reference), (angle, angle_reference)]
)
def test_equals_the_reference(function, reference, dtype, delta):
    torch.manual_seed(0)
    student, teacher = torch.randn(6, 3, dtype=dtype), torch.randn(6, 5, dtype=dtype)
    expected = torch.tensor(reference(student.tolist(), teacher.tolist(), delta), dtype=dtype)
    torch.testing.assert_close(function(student, teacher, delta=delta), expected)


def test_known_numbers():
    # Distances 1, 1, 2 over their mean 4/3 against three equal ones: 3/4 - 1 twice, 3/2 - 1 once.
    line = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
    pairs = 2 * (2 * (1 / 4) ** 2 + (1 / 2) ** 2) / 2
    torch.testing.assert_close(distance(line, triangle), torch.tensor(pairs / 9))
    # Cosines of 1, -1 and 1 against 1/2 at every corner, each met from both sides.
    corners = 2 * (2 * (1 / 2) ** 2 / 2 + (3 / 2 - 1 / 2))
    torch.testing.assert_close(angle(line, triangle), torch.tensor(corners / 27))


def test_scale_shift_and_rotation_do_not_count():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 4, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    changed = RKDLoss()(1e9 * (student @ rotation + 3), 1e-9 * teacher)
    torch.testing.assert_close(changed, RKDLoss()(student, teacher))


def test_the_weights_weigh_and_normalize_ignores_the_lengths():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 5, 4, dtype=torch.float64)
    parts = 2 * distance(student, teacher) + 3 * angle(student, teacher)
    loss = RKDLoss(distance_weight=2, angle_weight=3)
    torch.testing.assert_close(loss(student, teacher), parts)
    loss = RKDLoss(normalize=True)
    lengths = torch.rand(5, 1, dtype=torch.float64) + 1
    torch.testing.assert_close(loss(lengths * student, teacher), loss(student, teacher))
    assert not RKDLoss()(lengths * student, teacher).isclose(RKDLoss()(student, teacher))


@pytest.mark.parametrize("function", [distance, angle])
@pytest.mark.parametrize("shift", [0.0, 1e-7])
def test_copies_of_a_sample_have_gradients_of_the_usual_size(function, shift):
    torch.manual_seed(0)
    rows, teacher = torch.randn(2, 6, 4)
    rows[3] = rows[1] * (1 + shift)
    rows.requires_grad_()
    value = function(rows, teacher)
    value.backward()
    assert value.isfinite()
    assert rows.grad.abs().max() < 1
    assert rows.grad[[1, 3]].ne(0).any(1).all()


@pytest.mark.parametrize("function", [distance, angle])
def test_equal_samples_alone_cost_something_and_ask_for_nothing(function):
    student = torch.ones(4, 3, requires_grad=True)
    value = function(student, torch.randn(4, 3))
    value.backward()
    assert value > 0
    assert student.grad.eq(0).all()


def test_chunks_change_neither_value_nor_gradient(monkeypatch):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 7, 4, dtype=torch.float64)
    student.requires_grad_()
    (whole,) = torch.autograd.grad(angle(student, teacher), student)
    value = angle(student, teacher)
    calls = []
    original = rkd._angles_at
    monkeypatch.setattr(rkd, "_angles_at", lambda *a: (calls.append(a[2]), original(*a))[1])
    monkeypatch.setattr(rkd, "CHUNK", 3 * 7 * (7 + 4))
    torch.testing.assert_close(angle(student, teacher), value)
    assert calls == [slice(0, 3), slice(3, 6), slice(6, 9)]
    (chunked,) = torch.autograd.grad(angle(student, teacher), student)
    torch.testing.assert_close(chunked, whole)


def test_no_tensor_between_forward_and_backward_holds_every_triplet(monkeypatch):
    monkeypatch.setattr(rkd, "CHUNK", 1)
    student, teacher = torch.randn(2, 16, 8)
    saved = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (saved.update({tensor.data_ptr(): tensor.numel()}), tensor)[1],
        lambda tensor: tensor,
    ):
        angle(student.requires_grad_(), teacher)
    assert sum(saved.values()) < 16**3 / 8


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match=r"RKDLoss.angle_weight: expected a finite number of at"):
        RKDLoss(angle_weight=-1)
    with pytest.raises(InputError, match=r"RKDLoss.delta: expected a finite number above 0"):
        RKDLoss(delta=0)
    with pytest.raises(InputError, match="RKDLoss: expected a weight above 0, found 0 for"):
        RKDLoss(distance_weight=0, angle_weight=0)
