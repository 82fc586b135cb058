from torch import nn

from tutelage.taps import Layer, list_layers, suggest


def net():
    block = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    return nn.ModuleDict({"block": block, "head": nn.LazyLinear(4)})


def test_layers_come_in_order_with_kind_parameters_and_depth():
    assert list_layers(net()) == [
        Layer("block", "Sequential", 9, 1),
        Layer("block.0", "Linear", 9, 2),
        Layer("block.1", "ReLU", 0, 2),
        Layer("head", "LazyLinear", 0, 1),
    ]


def test_leaves_only_leaves_out_containers():
    names = [layer.name for layer in list_layers(net(), leaves_only=True)]
    assert names == ["block.0", "block.1", "head"]


def test_suggestions_are_close_names_or_all_of_them():
    assert suggest("blok.0", net()).startswith("did you mean 'block.0'")
    assert suggest("zzz", net()).startswith("known: block, block.0, block.1, head;")


def test_aliases_of_a_shared_module_are_suggested_too():
    shared = nn.Linear(2, 2)
    assert "'second'" in suggest("secand", nn.ModuleDict({"first": shared, "second": shared}))
