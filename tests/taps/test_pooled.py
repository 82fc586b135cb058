import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import TapError
from tutelage.taps import Taps


def test_a_pooled_tap_is_the_mean_over_pixels_or_tokens() -> None:
    maps = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU())
    images = torch.randn(2, 1, 6, 6)
    with Taps(maps, ["0:pooled", "0", "1:in:pooled"]) as taps:
        maps(images)
        read = taps.read()
    torch.testing.assert_close(read["0:pooled"], read["0"].mean((2, 3)))
    assert torch.equal(read["1:in:pooled"], read["0:pooled"])
    tokens = nn.Sequential(nn.Linear(4, 5))
    with Taps(tokens, ["0:pooled"]) as taps:
        expected = tokens(torch.ones(2, 7, 4)).mean(1)
        assert torch.equal(taps.read()["0:pooled"], expected)


def test_pooled_features_of_other_resolutions_are_compared_through_a_projector() -> None:
    student, teacher = (
        nn.Sequential(nn.Conv2d(1, width, 3, stride), nn.Flatten(1), nn.LazyLinear(2))
        for width, stride in ((3, 2), (5, 1))
    )
    x = torch.randn(4, 1, 8, 8)
    student(x), teacher(x)
    term = tl.Term(tl.HintLoss(), at=("0:pooled", "0:pooled"), via="auto")
    with tl.Distiller(student, tl.FrozenTeacher(teacher), [term], example=x) as distiller:
        distiller(x).loss.backward()
    assert student[0].weight.grad is not None


def test_an_unknown_layer_is_named_without_its_suffix() -> None:
    with pytest.raises(TapError, match=r"found no '7'"):
        Taps(nn.Sequential(nn.Linear(1, 1)), ["7:pooled"])
