import math
from functools import partial

import pytest
import torch
from torch import Tensor

pytest.importorskip("fastai", reason="fastai is not installed")

import tutelage as tl
from tutelage.adapters import fastai as names
from tutelage.adapters.fastai.losses import made
from tutelage.errors import InputError, ShapeError

# fasterai 0.4.1's formulas, written as loops over samples.


def softmax(row: Tensor, temperature: float) -> Tensor:
    powers = torch.stack([(z / temperature).exp() for z in row])
    return powers / powers.sum()


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    return sum(t * (t / s).log() for t, s in zip(teacher, student, strict=True))


def soft_target(s: Tensor, t: Tensor, y: Tensor, T: float = 5) -> Tensor:
    pairs = zip(s, t, strict=True)
    return T * T * sum(divergence(softmax(b, T), softmax(a, T)) for a, b in pairs) / len(s)


def logits(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return (s - t).pow(2).sum() / s.numel()


def mutual(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return soft_target(s, t, y, T=1)


def decoupled(s: Tensor, t: Tensor, y: Tensor, T: float = 4) -> Tensor:
    total = 0.0
    for a, b, label in zip(s, t, y.tolist(), strict=True):
        p, q = softmax(a, T), softmax(b, T)
        others = [c for c in range(len(a)) if c != label]
        on_true = divergence(
            torch.stack([q[label], 1 - q[label]]), torch.stack([p[label], 1 - p[label]])
        )
        among = divergence(q[others] / q[others].sum(), p[others] / p[others].sum())
        total = total + T * T * (on_true + 8 * among)
    return total / len(s)


def attention(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    def unit(feature: Tensor) -> Tensor:
        a = feature.pow(2).mean(0)
        return a / a.pow(2).sum().sqrt()

    pairs = zip(s, t, strict=True)
    return sum((unit(a) - unit(b)).pow(2).mean() for a, b in pairs) / len(s)


def boundaries(s: Tensor, t: Tensor, y: Tensor, m: float = 2) -> Tensor:
    values = [
        (a - m) ** 2 if a <= m and b > 0 else (a + m) ** 2 if a > -m and b <= 0 else 0 * a
        for a, b in zip(s.flatten(), t.flatten(), strict=True)
    ]
    return sum(values) / s.numel()


def similarity(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    def unit(feature: Tensor) -> Tensor:
        f = feature.reshape(len(feature), -1)
        rows = [torch.stack([(a * b).sum() for b in f]) for a in f]
        return torch.stack([row / row.pow(2).sum().sqrt() for row in rows])

    return (unit(s) - unit(t)).pow(2).mean()


CASES = [
    (names.SoftTarget, soft_target, False),
    (names.Logits, logits, False),
    (names.Mutual, mutual, False),
    (names.DecoupledKD, decoupled, False),
    (names.Attention, attention, True),
    (names.FitNet, logits, True),
    (names.ActivationBoundaries, boundaries, True),
    (names.Similarity, similarity, True),
]


@pytest.mark.parametrize(("make", "naive", "spatial"), CASES, ids=lambda case: str(case)[:30])
def test_value_and_gradient_are_those_of_fasterai(make, naive, spatial) -> None:
    torch.manual_seed(0)
    shape = (4, 3, 5, 2) if spatial else (4, 6)
    s, t = (2 * torch.randn(shape, dtype=torch.float64) for _ in range(2))
    y = torch.tensor([0, 3, 5, 3])
    mine, other = s.clone().requires_grad_(), s.clone().requires_grad_()
    ours, theirs = make()(mine, t, y), naive(other, t, y)
    (ours.backward(), theirs.backward())
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert theirs.item() > 1e-3
    torch.testing.assert_close(mine.grad, other.grad, rtol=1e-6, atol=1e-9)


def test_names_may_be_called_left_uncalled_or_bound_to_arguments() -> None:
    assert made(names.SoftTarget).temperature == 5.0
    assert made(partial(names.SoftTarget, T=20)).temperature == 20.0
    loss = names.SoftTarget(T=3)
    assert made(loss) is loss
    assert made(torch.nn.functional.mse_loss) is torch.nn.functional.mse_loss


def test_normalize_of_decoupled_kd_is_normalised_kd_and_not_a_no_op() -> None:
    torch.manual_seed(0)
    s, t, y = torch.randn(4, 6), torch.randn(4, 6), torch.tensor([0, 1, 2, 3])
    plain, normalised = (names.DecoupledKD(normalize=flag)(s, t, y) for flag in (False, True))
    assert not math.isclose(plain, normalised, rel_tol=0.01)
    torch.testing.assert_close(normalised, tl.NKDLoss(temperature=1.0, gamma=1.5)(s, t, y))
    assert repr(names.DecoupledKD(T=2, beta=3, normalize=True)) == repr(
        tl.NKDLoss(temperature=2.0, gamma=3.0)
    )
    with pytest.raises(InputError, match="expected alpha=1 with normalize=True"):
        names.DecoupledKD(alpha=2, normalize=True)


def test_decoupled_kd_goes_on_teaching_where_fasterai_stops() -> None:
    s = torch.tensor([[-90.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([[4.0, 0.0, 0.0]], dtype=torch.float64)
    names.DecoupledKD()(s, t, torch.tensor([0])).backward()
    assert s.grad[0, 0] < -1  # p_y = e^-22.5 is below the 1e-7 at which fasterai's gradient ends


def test_attention_of_odd_power_counts_magnitudes() -> None:
    # Two channels of opposite sign: without magnitudes they cancel to a map of zeros.
    s = torch.tensor([[[[3.0, 0.0]], [[-3.0, 0.0]]]])
    t = torch.tensor([[[[3.0, 0.0]], [[3.0, 0.0]]]])
    assert names.Attention(p=1)(s, t).item() == 0
    assert names.Attention(p=1)(s.flip(-1), t).item() == pytest.approx(1.0)


@pytest.mark.parametrize("make", [names.Similarity, names.Attention, names.FitNet])
def test_channels_last_features_give_the_same_value(make) -> None:
    torch.manual_seed(0)
    s, t = torch.randn(4, 3, 5, 2), torch.randn(4, 3, 5, 2)
    last = [one.to(memory_format=torch.channels_last) for one in (s, t)]
    torch.testing.assert_close(make()(*last), make()(s, t))


def test_attention_works_on_tokens() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, width, 3, 4) for width in (5, 7)]
    tokens = [one.flatten(2).mT for one in maps]
    torch.testing.assert_close(names.Attention()(*tokens), names.Attention()(*maps))


def test_attention_names_both_shapes_where_maps_differ_in_size() -> None:
    with pytest.raises(ShapeError, match=r"\[2, 5, 3, 4\].*\[2, 5, 6, 8\]"):
        names.Attention()(torch.randn(2, 5, 3, 4), torch.randn(2, 5, 6, 8))


def test_fitnet_never_broadcasts_a_map_of_one_channel() -> None:
    with pytest.raises(ShapeError, match="expected student and teacher of one shape"):
        names.FitNet()(torch.randn(2, 1, 3, 3), torch.randn(2, 5, 3, 3))


def test_decoupled_kd_of_two_classes_and_of_extreme_logits_is_finite() -> None:
    y = torch.tensor([0, 1])
    for scale in (1.0, 1e4):
        s = scale * torch.tensor([[1.0, -1.0], [1.0, -1.0]])
        assert names.DecoupledKD()(s, -s, y).isfinite()


def test_temperature_zero_is_refused() -> None:
    with pytest.raises(InputError, match="temperature: expected a finite number above 0"):
        names.SoftTarget(T=0)


def test_similarity_of_another_norm_is_refused() -> None:
    with pytest.raises(InputError, match="expected p=2"):
        names.Similarity(p=1)
