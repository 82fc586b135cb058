"""What the rounding of a row costs, against float64."""

import sys

import numpy as np
import pytest
import torch

from tutelage.cache import Layout, TapSpec, encode
from tutelage.errors import InputError, NumericalError, ShapeError, TapError
from tutelage.signals import Signals, SparseLogits

IDS = np.arange(100, 164)


def logits(classes: int = 50, scale: float = 6.0) -> torch.Tensor:
    return scale * torch.randn(64, classes, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("dtype", "bits"), [("fp16", 11), ("bf16", 8)])
def test_dense_values_are_within_half_a_unit_in_the_last_place(dtype: str, bits: int) -> None:
    values = logits()
    stored = encode(Layout(num_classes=50, dtype=dtype), Signals(values), IDS)["logits"]
    wide = stored.astype(np.float64)
    if dtype == "bf16":
        assert stored.dtype == np.uint16
        wide = (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    exact = values.double().numpy()
    unit = 2.0 ** (np.floor(np.log2(np.abs(exact))) - bits + 1)
    assert (np.abs(wide - exact) <= unit / 2).all()


def test_dense_float32_keeps_every_bit() -> None:
    stored = encode(Layout(num_classes=50, dtype="fp32"), Signals(logits()), IDS)["logits"]
    assert stored.tobytes() == logits().numpy().tobytes()


@pytest.mark.parametrize("classes", [50, 5000])
@pytest.mark.parametrize("scale", [0.5, 6.0, 60.0])
def test_top_k_rows_are_within_the_stated_bound(classes: int, scale: float) -> None:
    values = logits(classes, scale)
    layout = Layout(num_classes=classes, top_k=10, temperatures=(1.0, 2.0, 20.0))
    columns = encode(layout, Signals(values), IDS)
    exact = values.double().log_softmax(1)
    best = exact.sort(1, descending=True)
    slack = 1e-6 * (1 + best.values[:, :10].abs())  # float32's own rounding

    assert np.array_equal(columns["top_ids"], best.indices[:, :10].numpy())
    got = torch.from_numpy(columns["top_log_probs"]).double()
    bound = 2.0**-11 * best.values[:, :10].abs() + 2.0**-25 + slack
    assert ((got - best.values[:, :10]).abs() <= bound).all()

    rest = best.values[:, 10:].logsumexp(1)
    bound = 2.0**-11 * rest.abs() + 2.0**-25 + 1e-5 * (1 + rest.abs())
    assert ((torch.from_numpy(columns["rest"]).double() - rest).abs() <= bound).all()

    assert "log_total@1.0" not in columns
    for temperature in (2.0, 20.0):
        total = (exact / temperature).logsumexp(1)
        got = torch.from_numpy(columns[f"log_total@{temperature}"]).double()
        torch.testing.assert_close(got, total, rtol=2e-6, atol=2e-6)


def test_the_kl_divergence_of_the_rounding_is_below_the_entropy_by_two_to_the_eleventh() -> None:
    values = logits(1000, 3.0)
    layout = Layout(num_classes=1000, top_k=1000)
    columns = encode(layout, Signals(values), IDS)
    exact = values.double().log_softmax(1)
    exact = exact.gather(1, torch.from_numpy(columns["top_ids"].astype(np.int64)))
    got = torch.from_numpy(columns["top_log_probs"]).double()
    drift = (exact.exp() * (exact - got).abs()).sum(1)
    entropy = -(exact.exp() * exact).sum(1)
    assert (drift <= 2.0**-11 * entropy + 1e-6).all()
    assert drift.max() < 2.0**-11 * np.log(1000)


@pytest.mark.parametrize("top_k", [5, 7])
def test_all_classes_are_kept_where_there_are_no_more(top_k: int) -> None:
    columns = encode(Layout(num_classes=5, top_k=top_k), Signals(logits(5)), IDS)
    assert columns["top_ids"].shape == (64, 5)
    assert np.isneginf(columns["rest"]).all()


def test_classes_that_are_ruled_out_stay_so() -> None:
    values = torch.tensor([[1.0, -torch.inf, -torch.inf, 0.0]])
    dense = encode(Layout(num_classes=4), Signals(values), [7])
    assert dense["logits"].tolist() == values.tolist()
    kept = encode(Layout(num_classes=4, top_k=3), Signals(values), [7])
    assert kept["top_ids"][0, :2].tolist() == [0, 3]
    assert np.isneginf(kept["top_log_probs"][0, 2])
    assert np.isneginf(kept["rest"][0])


def test_half_precision_teachers_are_widened_before_the_softmax() -> None:
    values = logits().half()
    layout = Layout(num_classes=50, top_k=3)
    half, full = (encode(layout, Signals(v), IDS) for v in (values, values.float()))
    assert half["top_log_probs"].tobytes() == full["top_log_probs"].tobytes()


def test_many_rows_are_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(num_classes=50, top_k=3, temperatures=(4.0,))
    whole = encode(layout, Signals(logits()), IDS)
    monkeypatch.setattr(sys.modules["tutelage.cache.encode"], "_AT_ONCE", 350)
    pieces = encode(layout, Signals(logits()), IDS)
    assert {name: v.tobytes() for name, v in whole.items()} == {
        name: v.tobytes() for name, v in pieces.items()
    }


def test_a_value_that_does_not_fit_is_refused_with_its_sample() -> None:
    values = logits()
    values[3, 0] = 1e5
    with pytest.raises(NumericalError, match="within fp16, found larger ones for samples 103; bui"):
        encode(Layout(num_classes=50), Signals(values), IDS)
    with pytest.raises(NumericalError, match=r"log-probabilities within fp16.* samples 103;"):
        encode(Layout(num_classes=50, top_k=2), Signals(values), IDS)
    encode(Layout(num_classes=50, dtype="bf16"), Signals(values), IDS)


def test_a_tap_must_be_there_with_its_shape_and_be_finite() -> None:
    layout = Layout(taps=(TapSpec("a", (2, 3)),))
    tap = torch.zeros(64, 2, 3)
    assert encode(layout, Signals(None, {"a": tap}), IDS)["tap:a"].shape == (64, 2, 3)
    with pytest.raises(TapError, match="tap 'a', found b; let the teacher provide it"):
        encode(layout, Signals(None, {"b": tap}), IDS)
    with pytest.raises(ShapeError, match=r"tap 'a' of shape \[64, 2, 3\], found \[64, 2\]"):
        encode(layout, Signals(None, {"a": tap[..., 0]}), IDS)
    tap[5, 1, 1] = -torch.inf
    with pytest.raises(NumericalError, match=r"tap 'a' that are finite.* samples 105;"):
        encode(layout, Signals(None, {"a": tap}), IDS)


def test_logits_must_be_of_all_classes_and_of_their_number() -> None:
    layout = Layout(num_classes=50)
    with pytest.raises(ShapeError, match=r"logits of shape \[64, 50\], found \[64, 49\]"):
        encode(layout, Signals(logits(49)), IDS)
    with pytest.raises(InputError, match="all classes, found none"):
        encode(layout, Signals(None), IDS)
    sparse = SparseLogits.from_logits(logits(), k=3)
    with pytest.raises(InputError, match="all classes, found some"):
        encode(layout, Signals(sparse), IDS)
