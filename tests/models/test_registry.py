from importlib.metadata import EntryPoint

import pytest
from torch import nn

from tutelage.errors import InputError
from tutelage.models import create, index, register, registry


@pytest.fixture
def clean(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})


def plugin(monkeypatch, value):
    point = EntryPoint(name="plugin_net", value=value, group="tutelage.models")
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] * (group == point.group))


def test_the_index_lists_our_own_nets():
    assert {"mlp", "small_cnn", "tiny_resnet"} <= set(index())


@pytest.mark.usefixtures("clean")
def test_a_registered_function_is_found_by_name():
    register("mine", lambda num_classes: nn.Linear(2, num_classes))
    assert create("mine", num_classes=5).out_features == 5


@pytest.mark.usefixtures("clean")
@pytest.mark.parametrize("name", ["mlp", "timm/mine", ""])
def test_a_name_that_is_taken_or_reserved_is_refused(name):
    with pytest.raises(InputError, match="model name"):
        register(name, nn.Linear)


def test_an_installed_packages_entry_point_is_found(monkeypatch):
    plugin(monkeypatch, "torch.nn:Identity")
    assert index()["plugin_net"] is nn.Identity


def test_a_broken_entry_point_is_named(monkeypatch):
    plugin(monkeypatch, "no_such_module_here:build")
    with pytest.raises(InputError, match=r"plugin_net.*repair or uninstall"):
        index()
