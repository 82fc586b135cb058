"""The mean of several predictions, against a loop over Python floats."""

import math

import pytest
import torch

from tutelage.teachers.mean import mean_prediction


def softened(logits):
    total = sum(math.exp(z) for z in logits)
    return [math.exp(z) / total for z in logits]


def reference(rows, weights, mean):
    """The mean prediction of one sample, as probabilities."""
    shares = [weight / sum(weights) for weight in weights]
    classes = range(len(rows[0]))
    if mean == "probability":
        p = [softened(row) for row in rows]
        return [sum(w * one[c] for w, one in zip(shares, p, strict=True)) for c in classes]
    return softened([sum(w * z[c] for w, z in zip(shares, rows, strict=True)) for c in classes])


@pytest.mark.parametrize("mean", ["probability", "logit", "log_probability"])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [2.0, 1.0, 5.0]])
def test_equals_the_reference(mean, weights):
    logits = 3 * torch.randn(3, 4, 5, dtype=torch.float64)
    rows = [[one[b].tolist() for one in logits] for b in range(4)]
    expected = torch.tensor([reference(row, weights, mean) for row in rows]).double()
    found = mean_prediction(list(logits), weights, mean)
    torch.testing.assert_close(found.softmax(-1), expected, rtol=1e-6, atol=1e-7)


def test_known_numbers():
    # softmax([log 3, 0]) is [3/4, 1/4]; beside an undecided teacher the mean of probabilities is
    # [5/8, 3/8], and that of logits stands to each other as sqrt(3) to 1.
    logits = [torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)]
    found = mean_prediction(logits, [1.0, 1.0], "probability")
    torch.testing.assert_close(found, torch.tensor([[5 / 8, 3 / 8]]).log())
    found = mean_prediction(logits, [1.0, 1.0], "logit")
    torch.testing.assert_close(found, torch.tensor([[math.log(3) / 2, 0.0]]))


def test_means_of_probabilities_and_of_their_logarithms_are_log_probabilities():
    logits = list(5 + torch.randn(2, 4, 5))
    for mean in ("probability", "log_probability"):
        found = mean_prediction(logits, [1.0, 3.0], mean)
        torch.testing.assert_close(found.exp().sum(-1), torch.ones(4))


def test_who_rules_a_class_out_has_his_way_in_logits_only():
    logits = [torch.tensor([[0.0, -torch.inf]]), torch.zeros(1, 2)]
    found = mean_prediction(logits, [1.0, 1.0], "probability")
    torch.testing.assert_close(found.exp(), torch.tensor([[3 / 4, 1 / 4]]))
    found = mean_prediction(logits, [1.0, 1.0], "log_probability")
    torch.testing.assert_close(found.exp(), torch.tensor([[1.0, 0.0]]))


def test_sure_teachers_do_not_underflow():
    logits = [torch.tensor([[1e4, 0.0]]), torch.tensor([[1e4, 0.0]])]
    found = mean_prediction(logits, [1.0, 1.0], "probability")
    torch.testing.assert_close(found, torch.tensor([[0.0, -1e4]]))


@pytest.mark.parametrize("mean", ["probability", "logit", "log_probability"])
def test_half_precision_is_averaged_in_float32(mean):
    logits = torch.randn(2, 4, 5)
    found = mean_prediction(list(logits.half()), [1.0, 1.0], mean)
    assert found.dtype == torch.float32
    exact = mean_prediction(list(logits.half().float()), [1.0, 1.0], mean)
    torch.testing.assert_close(found, exact)


def test_the_classes_may_stand_on_another_axis():
    logits = torch.randn(2, 4, 5, 3, 3)
    found = mean_prediction(list(logits), [1.0, 1.0], "probability", class_axis=1)
    moved = mean_prediction(list(logits.movedim(2, -1)), [1.0, 1.0], "probability")
    torch.testing.assert_close(found.movedim(1, -1), moved)
