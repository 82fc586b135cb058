"""Attention transfer, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import ATLoss
from tutelage.losses.features.at import attention_distance, attention_map


def attention(channels, power):
    """Q of one sample, given as a list of channels, each a list of positions."""
    a = [sum(abs(f) ** power for f in position) for position in zip(*channels, strict=True)]
    length = math.sqrt(sum(a_i**2 for a_i in a))
    return [a_i / length for a_i in a]


def reference(student, teacher, power, variant):
    q_s, q_t = attention(student, power), attention(teacher, power)
    squares = sum((s - t) ** 2 for s, t in zip(q_s, q_t, strict=True))
    return math.sqrt(squares) if variant == "paper" else squares / len(q_s)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("variant", ["author", "paper"])
@pytest.mark.parametrize("power", [1, 2, 3, 4.0, 1.5])
@pytest.mark.parametrize("tokens", [False, True])
def test_equals_the_reference(tokens, power, variant, dtype):
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 5, 4, 6, dtype=dtype), torch.randn(3, 7, 4, 6, dtype=dtype)
    rows = zip(student.flatten(2).tolist(), teacher.flatten(2).tolist(), strict=True)
    values = [reference(*row, power, variant) for row in rows]
    if tokens:
        student, teacher = student.flatten(2).mT, teacher.flatten(2).mT
    expected = torch.tensor(values, dtype=dtype)
    found = attention_distance(student, teacher, power=power, variant=variant)
    torch.testing.assert_close(found, expected)
    loss = ATLoss(power=power, variant=variant)
    torch.testing.assert_close(loss(student, teacher), expected.mean())


def test_a_known_number():
    # One channel: Q_s = [1, 0], Q_t = [9, 16] / sqrt(337), and |Q_s - Q_t|^2 = 2 - 18 / sqrt(337).
    student, teacher = torch.tensor([[[[5.0, 0.0]]]]), torch.tensor([[[[3.0, -4.0]]]])
    squares = 2 - 18 / math.sqrt(337)
    torch.testing.assert_close(ATLoss()(student, teacher), torch.tensor(squares / 2))
    torch.testing.assert_close(
        ATLoss(variant="paper")(student, teacher), torch.tensor(math.sqrt(squares))
    )


def test_neither_scale_nor_sign_nor_order_of_channels_counts():
    student, teacher = torch.randn(2, 3, 5, 4, 4, dtype=torch.float64)
    loss = ATLoss()
    changed = loss(-1e-9 * student.flip(1), 1e9 * teacher)
    torch.testing.assert_close(changed, loss(student, teacher))


@pytest.mark.parametrize("variant", ["author", "paper"])
def test_equal_maps_and_inactive_samples_have_finite_gradients(variant):
    student = torch.rand(2, 3, 4, 4)
    student[0] = 0
    student.requires_grad_()
    value = ATLoss(variant=variant)(student, student.detach().clone())
    value.backward()
    assert value.item() == 0
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(("s", "t"), [((8, 8), (4, 4)), ((4, 4), (8, 8)), ((6, 3), (3, 6))])
def test_the_larger_map_is_averaged_down_to_the_smaller(s, t):
    student, teacher = torch.rand(2, 3, *s), torch.rand(2, 5, *t)
    small = min(s[0], t[0]), min(s[1], t[1])
    blocks = [
        f.unflatten(3, (small[1], -1)).unflatten(2, (small[0], -1)).mean((3, 5))
        for f in (student, teacher)
    ]
    torch.testing.assert_close(ATLoss(resize=True)(student, teacher), ATLoss()(*blocks))


@pytest.mark.parametrize(
    ("student", "teacher", "resize", "message"),
    [
        ((2, 3), (2, 3), False, r"found student \[2, 3\] .*tap a layer before the pooling"),
        ((2, 3, 4, 4), (2, 16, 3), False, "two feature maps .* map tokens to pixels"),
        ((2, 3, 4, 4), (1, 3, 4, 4), False, "one batch size, .*use the same batch"),
        ((2, 3, 4, 4), (2, 3, 8, 8), False, "the same positions, .*set resize=True"),
        ((2, 16, 3), (2, 4, 3), True, "tokens cannot be resized"),
        (
            (2, 8),
            (2, 8),
            False,
            r"student \[2, 8\] .* the pooling, or .*unsqueeze\(-1\)",
        ),
        ((2, 3, 1, 1), (2, 5, 1, 1), False, "at least two positions.*tap a layer before"),
        ((2, 3, 4, 4), (2, 5, 1, 1), True, "at least two positions"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(student, teacher, resize, message):
    with pytest.raises(ShapeError, match=f"ATLoss: .*{message}"):
        ATLoss(resize=resize)(torch.zeros(student), torch.zeros(teacher))


@pytest.mark.parametrize("power", [0, -2, 0.5, float("nan")])
def test_a_power_outside_its_range_is_refused(power):
    with pytest.raises(InputError, match=r"ATLoss.power: expected a"):
        ATLoss(power=power)


def test_an_unknown_variant_is_refused():
    with pytest.raises(InputError, match=r"ATLoss.variant: expected one of author, paper, l1"):
        ATLoss(variant="mean")


@pytest.mark.parametrize("variant", ["author", "paper"])
@pytest.mark.parametrize("power", [1, 2, 4])
@pytest.mark.parametrize("size", [1e-25, 1e10, 1e25, 1e37])
def test_the_size_of_the_features_neither_overflows_nor_vanishes(size, power, variant):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5, 4, 4)
    loss = ATLoss(power=power, variant=variant)
    scaled = (size * student).requires_grad_()
    value = loss(scaled, size * teacher)
    value.backward()
    torch.testing.assert_close(value, loss(student, teacher))
    assert scaled.grad.isfinite().all()


def test_maps_as_distributions():
    # One channel of 1, 3 and one of 2, 2: shares 0.25, 0.75 and 0.5, 0.5.
    student, teacher = torch.tensor([[[[1.0, -3.0]]]]), torch.tensor([[[[2.0, 2.0]]]])
    loss = ATLoss(power=1, norm="sum")
    assert loss(student, teacher) == 0.0625
    assert loss(1e3 * student, 1e-3 * teacher) == 0.0625
    assert ATLoss(power=1, norm="sum", variant="l1")(student, teacher) == 0.25


@pytest.mark.parametrize("power", [1, 2, 3])
def test_maps_of_next_to_no_sum_stay_as_they_are(power):
    torch.manual_seed(0)
    feature = torch.rand(3, 2, 4, 4, dtype=torch.float64)
    size = torch.tensor([1e-12, 1e-1, 0.0], dtype=torch.float64).view(3, 1, 1, 1)
    a = (size * feature).pow(power).mean(1).flatten(1)
    total = a.sum(1, keepdim=True)
    expected = torch.where(total <= 1e-8, a, a / total)
    assert (total <= 1e-8).flatten().tolist() == [True, False, True]
    found = attention_map(size * feature, power=power, norm="sum")
    torch.testing.assert_close(found, expected)


def test_distributions_neither_overflow_nor_lose_their_gradient():
    student = (1e30 * torch.rand(2, 3, 4, 4)).requires_grad_()
    value = ATLoss(power=4, norm="sum")(student, torch.zeros(2, 3, 4, 4))
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("power", [1, 3])
def test_signed_powers_tell_the_channels_signs(power):
    student, teacher = torch.randn(2, 3, 5, 4, 4, dtype=torch.float64)
    q_s, q_t = (f.pow(power).mean(1).flatten(1) for f in (student, teacher))
    q_s, q_t = (q / q.square().sum(1, keepdim=True).sqrt() for q in (q_s, q_t))
    found = ATLoss(power=power, signed=True)(student, teacher)
    torch.testing.assert_close(found, (q_s - q_t).square().mean())
    assert found != ATLoss(power=power)(student, teacher)


def test_the_absolute_distance():
    # Maps [1, 0] and [0.6, 0.8].
    student, teacher = torch.tensor([[[[5.0, 0.0]]]]), torch.tensor([[[[3.0, -4.0]]]])
    value = ATLoss(power=1, variant="l1")(student, teacher)
    torch.testing.assert_close(value, torch.tensor(0.6))


def test_what_has_no_meaning_is_refused():
    with pytest.raises(InputError, match=r"ATLoss.power, where signed: expected a whole number"):
        ATLoss(power=1.5, signed=True)
    with pytest.raises(InputError, match=r"ATLoss.norm: expected one of l2, sum"):
        ATLoss(norm="max")


def test_rows_of_positions_are_maps_of_one_channel():
    # Squares 1, 9 and 4, 4: shares 0.1, 0.9 and 0.5, 0.5, as in row-wise implementations.
    student, teacher = torch.tensor([[1.0, -3.0]]), torch.tensor([[2.0, 2.0]])
    value = ATLoss(norm="sum")(student.unsqueeze(-1), teacher.unsqueeze(-1))
    torch.testing.assert_close(value, torch.tensor(0.16))
