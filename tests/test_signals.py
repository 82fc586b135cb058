from dataclasses import FrozenInstanceError
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tutelage.errors import InputError, TapError, did_you_mean
from tutelage.signals import Signals, call, item_of, logits_of


def test_signals_cannot_be_changed() -> None:
    signals = Signals(torch.zeros(1))
    assert signals.taps == {}
    with pytest.raises(FrozenInstanceError):
        signals.logits = None  # type: ignore[misc]


def test_a_model_is_called_with_a_tensor_positions_or_keywords() -> None:
    add = nn.Bilinear(2, 2, 1)
    a, b = torch.randn(3, 2), torch.randn(3, 2)
    expected = add(a, b)
    assert torch.equal(call(add, (a, b)), expected)
    assert torch.equal(call(add, {"input1": a, "input2": b}), expected)
    assert torch.equal(call(nn.Identity(), a), a)


def test_logits_are_found_in_the_usual_outputs() -> None:
    logits = torch.randn(2, 3)
    for output in (logits, {"logits": logits}, SimpleNamespace(logits=logits)):
        assert logits_of(output, "student") is logits


def test_the_first_of_several_heads_has_the_logits() -> None:
    heads = torch.randn(2, 3), torch.randn(2, 3)
    assert logits_of(heads, "student") is heads[0]
    assert logits_of(list(heads), "student") is heads[0]


@pytest.mark.parametrize(
    ("output", "place"),
    [
        ((torch.zeros(1, 2), torch.ones(1, 2)), "output:1"),
        ({"logits": torch.zeros(1, 2), "dist": torch.ones(1, 2)}, "output:dist"),
        (SimpleNamespace(dist=torch.ones(1, 2)), "output:dist"),
        (torch.ones(1, 2), "output:1"),
    ],
)
def test_an_item_of_the_output_is_found_by_position_or_name(output: object, place: str) -> None:
    assert torch.equal(item_of(output, place), torch.ones(1, 2))


@pytest.mark.parametrize("output", [(torch.zeros(1, 2),), {"1": 0}, None])
def test_an_item_that_is_not_there_is_refused(output: object) -> None:
    with pytest.raises(TapError, match=r"'output:1'.*expected a tensor at '1'.*found"):
        item_of(output, "output:1")


@pytest.mark.parametrize(
    "output",
    [(torch.zeros(1), torch.zeros(1)), None, {"out": 1}, (torch.zeros(1, 2), (torch.zeros(1, 2),))],
)
def test_an_output_without_logits_is_refused(output: object) -> None:
    with pytest.raises(InputError, match=r"student: .*logits.*wrap the model"):
        logits_of(output, "student")


def test_suggestions_show_close_names_or_what_there_is() -> None:
    assert did_you_mean("layr3", ["layer3", "layer4", "fc"]).startswith("did you mean 'layer3'")
    assert did_you_mean("x", []) == "there are none"
    assert did_you_mean("???", [f"name{i}" for i in range(30)]).endswith("and 10 more")
