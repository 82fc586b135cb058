import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import InputError
from tutelage.models import Submodels, create


def made(**options) -> Submodels:
    torch.manual_seed(0)
    options = {"distilled": False, "drop_path": 0.5, "depth": 4, "width": 16, **options}
    images = {"in_channels": 1, "size": (14, 14), "patch": 7}
    return create("submodels", of="distilled_vit", num_classes=3, **images, **options)


def test_training_shows_two_parts_of_one_network_on_the_same_images():
    model, images = made(), torch.randn(64, 1, 14, 14)
    with tl.Taps(model, ["first", "second"]) as taps:
        logits = model(images)
        found = taps.read()
    assert torch.equal(logits, found["first"])
    assert found["second"].shape == (64, 3)
    assert not torch.equal(found["first"], found["second"])


def test_without_chance_both_passes_are_equal():
    model, images = made(drop_path=0.0), torch.randn(4, 1, 14, 14)
    with tl.Taps(model, ["first", "second"]) as taps:
        model(images)
        found = taps.read()
    torch.testing.assert_close(found["first"], found["second"])


def test_evaluation_is_one_pass_of_the_whole_network():
    model, images = made().eval(), torch.randn(4, 1, 14, 14)
    seen = []
    model.model.register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    torch.testing.assert_close(model(images), model.model(images))
    assert seen == [4, 4]


def test_it_adds_no_parameters():
    model = made()
    assert {name.split(".")[0] for name, _ in model.named_parameters()} == {"model"}


def test_a_network_with_several_heads_is_refused():
    with pytest.raises(InputError, match=r"one tensor of logits, found tuple.*distilled=False"):
        made(distilled=True)(torch.randn(2, 1, 14, 14))
    assert Submodels(nn.Linear(2, 3))(torch.zeros(4, 2)).shape == (4, 3)
