"""Cross-entropy, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.errors import DataError, InputError, ShapeError
from tutelage.losses import CELoss
from tutelage.losses.logits.ce import cross_entropy


def reference(logits, target, smoothing):
    """-sum_c p_c log softmax(z)_c for one row, the target a class index or probabilities."""
    classes = len(logits)
    y = [float(c == target) for c in range(classes)] if isinstance(target, int) else target
    p = [(1 - smoothing) * y_c + smoothing / classes for y_c in y]
    log_z = max(logits) + math.log(sum(math.exp(z - max(logits)) for z in logits))
    return -sum(p_c * (z - log_z) for p_c, z in zip(p, logits, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("shape", [(6, 5), (1, 2), (3, 4, 7)])
@pytest.mark.parametrize("soft", [False, True])
def test_equals_the_reference(shape, smoothing, dtype, soft):
    torch.manual_seed(0)
    logits = 3 * torch.randn(shape, dtype=dtype)
    if soft:
        target = torch.rand(shape, dtype=dtype).softmax(-1)
    else:
        target = torch.randint(shape[-1], shape[:-1])
    labels = target.flatten(0, -2) if soft else target.flatten()
    rows = zip(logits.flatten(0, -2).tolist(), labels.tolist(), strict=True)
    expected = torch.tensor([reference(*row, smoothing) for row in rows], dtype=dtype)
    found = cross_entropy(logits, target, label_smoothing=smoothing)
    torch.testing.assert_close(found, expected.view(shape[:-1]))
    torch.testing.assert_close(
        CELoss(label_smoothing=smoothing)(logits, None, target), expected.mean()
    )


def test_a_known_number():
    # softmax([0, log 3]) = [1/4, 3/4], so label 0 costs log 4.
    logits = torch.tensor([[0.0, math.log(3)]])
    torch.testing.assert_close(CELoss()(logits, None, torch.tensor([0])), torch.tensor(math.log(4)))


def test_soft_labels_that_are_one_hot_equal_class_indices():
    logits, target = torch.randn(8, 5), torch.randint(5, (8,))
    one_hot = torch.nn.functional.one_hot(target, 5).float()
    loss = CELoss(label_smoothing=0.2)
    torch.testing.assert_close(loss(logits, None, one_hot), loss(logits, None, target))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_mean_runs_over_kept_positions_only(smoothing):
    logits, target = torch.randn(4, 3, 5), torch.randint(5, (4, 3))
    target[1:, 1] = -100
    loss = CELoss(label_smoothing=smoothing)
    kept = target != -100
    torch.testing.assert_close(loss(logits, None, target), loss(logits[kept], None, target[kept]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_batch_without_kept_positions_is_zero_with_its_graph(smoothing):
    logits = torch.randn(4, 5, requires_grad=True)
    value = CELoss(label_smoothing=smoothing, ignore_index=-1)(logits, None, torch.full((4,), -1))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
    assert logits.grad.eq(0).all()


def test_a_class_of_no_weight_may_have_an_infinite_logit():
    logits = torch.tensor([[0.0, 0.0, -torch.inf]])
    soft = torch.tensor([[0.5, 0.5, 0.0]])
    torch.testing.assert_close(CELoss()(logits, None, soft), torch.tensor(math.log(2)))


@pytest.mark.parametrize("label", [5, 12, -1])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_label_outside_the_classes_is_named(label, smoothing):
    logits, target = torch.randn(3, 5), torch.tensor([0, label, -100])
    with pytest.raises(DataError, match=rf"from 0 to 4 .* found label {label} \(1 such") as error:
        CELoss(label_smoothing=smoothing)(logits, None, target)
    assert error.value.exit_code == 3


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (
            (4, 5),
            torch.zeros(3, dtype=torch.long),
            r"target \[4\], found \[3\]; give class indices",
        ),
        ((4, 2, 5), torch.zeros(4, dtype=torch.long), r"target \[4, 2\], found \[4\]"),
        ((4, 5), torch.zeros(4), r"class indices must be integers \(target.long\(\)\)"),
        ((4, 5), torch.zeros(4, 6), r"class probabilities \[4, 5\], found \[4, 6\]"),
        ((4, 1), torch.zeros(4, dtype=torch.long), "at least two classes, found .*two outputs"),
        ((5,), torch.tensor(1), r"expected logits \[B, C\]"),
    ],
)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_shapes_that_do_not_fit_are_refused(logits, target, message, smoothing):
    with pytest.raises(ShapeError, match=message) as error:
        CELoss(label_smoothing=smoothing)(torch.zeros(logits), None, target)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("smoothing", [-0.1, 1.5, float("nan")])
def test_a_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(InputError, match=r"CELoss.label_smoothing: expected a number from 0 to 1"):
        CELoss(label_smoothing=smoothing)


def test_a_missing_target_is_refused():
    with pytest.raises(InputError, match="CELoss: expected the target, found None; for unlabelled"):
        CELoss()(torch.zeros(2, 3), None)


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        # Read as probabilities, clamped to [1e-10, 1] and logged, these would cost 0, 23.03 and 0.
        ([2.0, 1.0, 0.5], math.log(1 + math.exp(-1.0) + math.exp(-1.5))),
        ([-0.1, -0.1], math.log(2)),
        ([1.0, 9.0], 8 + math.log(1 + math.exp(-8.0))),
    ],
)
def test_raw_logits_are_logits_and_no_probabilities(logits, expected):
    logits = torch.tensor([logits], dtype=torch.float64, requires_grad=True)
    one_hot = torch.zeros_like(logits)
    one_hot[0, 0] = 1
    for target in (torch.tensor([0]), one_hot):
        value = CELoss()(logits, None, target)
        assert value.item() == pytest.approx(expected, rel=1e-12)
        (gradient,) = torch.autograd.grad(value, logits)
        torch.testing.assert_close(gradient, logits.detach().softmax(-1) - one_hot)
