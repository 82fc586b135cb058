import importlib

import pytest
import torch
from torch import nn

from tutelage.errors import TapError
from tutelage.taps import LayerPair, match_layers


def optional(name):
    """Import a package, or skip where it is missing or broken beside this build of torch."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        pytest.skip(f"{name} does not import: {error}")


def conv(inner, outer, stride=1):
    return nn.Conv2d(inner, outer, 3, stride, 1)


class Bottleneck(nn.Module):
    """A residual block whose first half still has the resolution of its input."""

    def __init__(self, inner, outer, stride=1):
        super().__init__()
        self.first = nn.Sequential(conv(inner, outer), nn.ReLU())
        self.second = nn.Sequential(conv(outer, outer, stride), nn.ReLU())
        self.skip = conv(inner, outer, stride)

    def forward(self, x):
        return torch.relu(self.second(self.first(x)) + self.skip(x))


def residual(width, blocks=1):
    def stage(inner, outer, stride):
        rest = [Bottleneck(outer, outer) for _ in range(blocks - 1)]
        return nn.Sequential(Bottleneck(inner, outer, stride), *rest)

    stages = {"stage1": stage(width, width, 1), "stage2": stage(width, 2 * width, 2)}
    return nn.Sequential(Body(conv(1, width, 2), **stages))


class Body(nn.Module):
    """A whole body under one name, as transfer-learning code wraps it."""

    def __init__(self, stem, **stages):
        super().__init__()
        self.stem = stem
        for name, stage in stages.items():
            self.add_module(name, stage)

    def forward(self, x):
        for child in self.children():
            x = child(x)
        return x


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.mix = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))

    def forward(self, x):
        x = x + self.mix(x)
        return x + self.mlp(x)


class Transformer(nn.Module):
    def __init__(self, width, depth):
        super().__init__()
        self.embed = nn.Linear(3, width)
        self.blocks = nn.Sequential(*[Block(width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.Linear(width, 2))

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.embed(x))).mean(1))


def names(pairs):
    return [(pair.student, pair.teacher) for pair in pairs]


def test_stages_are_paired_and_not_their_insides_nor_the_whole_body():
    pairs = match_layers(residual(4), residual(8, blocks=3), torch.zeros(2, 1, 16, 16))
    assert pairs == [
        LayerPair("0.stage1", "0.stage1", (2, 4, 8, 8), (2, 8, 8, 8)),
        LayerPair("0.stage2", "0.stage2", (2, 8, 4, 4), (2, 16, 4, 4)),
    ]


def test_a_body_beside_a_stem_gives_way_to_its_stages():
    body = Body(conv(4, 4), one=Bottleneck(4, 4), two=Bottleneck(4, 4, 2))
    model = nn.Sequential(nn.Sequential(conv(1, 4, 2), nn.ReLU()), body)
    pairs = match_layers(model, model, torch.zeros(1, 1, 16, 16))
    assert names(pairs) == [("1.one", "1.one"), ("1.two", "1.two")]


def test_a_body_of_one_resolution_gives_way_to_its_last_block():
    model = nn.Sequential(nn.Sequential(Bottleneck(1, 4), Bottleneck(4, 4)), nn.Flatten())
    assert names(match_layers(model, model, torch.zeros(1, 1, 4, 4))) == [("0.1", "0.1")]


def plain(width, steps):
    layers = []
    for inner in [1] + [width] * (steps - 1):
        layers += [conv(inner, width), nn.ReLU(), nn.Dropout(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 2))


def test_nets_without_blocks_are_paired_by_their_last_learning_layer_of_each_resolution():
    pairs = match_layers(plain(4, 2), plain(8, 3), torch.zeros(1, 1, 8, 8))
    assert names(pairs) == [("1", "1"), ("5", "5")]


def test_transformer_blocks_are_paired_at_equal_relative_depths():
    pairs = match_layers(Transformer(4, 3), Transformer(8, 6), torch.zeros(2, 5, 3))
    assert names(pairs) == [
        ("blocks.0", "blocks.1"),
        ("blocks.1", "blocks.3"),
        ("blocks.2", "blocks.5"),
    ]
    assert pairs[0].student_shape == (2, 5, 4)


def test_deep_transformers_are_paired_at_four_depths():
    pairs = match_layers(Transformer(4, 6), Transformer(4, 12), torch.zeros(2, 5, 3))
    assert [teacher for _, teacher in names(pairs)] == [f"blocks.{i}" for i in (2, 5, 8, 11)]


def test_layers_that_run_twice_are_left_out():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = conv(1, 1), conv(1, 1)

        def forward(self, x):
            return self.b(self.b(self.a(x)))

    assert names(match_layers(Twice(), Twice(), torch.zeros(1, 1, 4, 4))) == [("a", "a")]


def test_the_teacher_may_take_other_inputs():
    pairs = match_layers(
        plain(4, 1), plain(4, 2), torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 16, 16)
    )
    assert names(pairs) == [("1", "5")]


def test_models_without_a_common_resolution_are_told_what_they_have():
    with pytest.raises(TapError, match="found student 8x8 vs teacher 12x12; feed both") as caught:
        match_layers(plain(4, 1), plain(4, 1), torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 12, 12))
    assert caught.value.exit_code == 2


def test_both_models_are_left_as_they_were():
    models = nn.Sequential(conv(1, 2), nn.BatchNorm2d(2)), nn.Sequential(conv(1, 2))
    before = [{k: v.clone() for k, v in model.state_dict().items()} for model in models]
    match_layers(*models, torch.randn(2, 1, 4, 4))
    for model, state in zip(models, before, strict=True):
        assert model.training
        assert all(torch.equal(model.state_dict()[name], state[name]) for name in state)


@pytest.mark.parametrize("package", ["torchvision.models", "timm.models"])
def test_resnets_are_paired_by_their_four_stages(package):
    models = optional(package)
    options = {"weights": None} if "torchvision" in package else {}
    with torch.device("meta"):  # shapes without arithmetic
        student, teacher = models.resnet18(**options), models.resnet50(**options)
        pairs = match_layers(student, teacher, torch.zeros(1, 3, 64, 64))
    assert names(pairs) == [(f"layer{i}", f"layer{i}") for i in range(1, 5)]
    assert pairs[-1].teacher_shape == (1, 2048, 2, 2)


def test_an_inverted_bottleneck_net_is_paired_by_whole_blocks():
    models = optional("torchvision.models")
    with torch.device("meta"):
        student, teacher = models.mobilenet_v2(weights=None), models.resnet18(weights=None)
        pairs = match_layers(student, teacher, torch.zeros(1, 3, 64, 64))
    assert names(pairs) == [
        ("features.3", "layer1"),
        ("features.6", "layer2"),
        ("features.13", "layer3"),
        ("features.18", "layer4"),
    ]
