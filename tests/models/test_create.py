import logging
import sys

import pytest
import torch
from torch import nn

from tutelage.errors import InputError, MissingPackageError, ResourceError
from tutelage.models import create


def test_a_users_function_gets_what_it_takes():
    def build(num_classes, in_channels, depth=1):
        return nn.Sequential(nn.Linear(in_channels, num_classes), *[nn.ReLU()] * depth)

    model = create(build, num_classes=4, in_channels=2, depth=3)
    assert model[0].weight.shape == (4, 2)
    assert len(model) == 4


def test_a_users_function_without_arguments_is_called_so():
    assert isinstance(create(lambda: nn.Identity(), num_classes=4), nn.Identity)


def test_a_users_function_with_keywords_gets_everything():
    seen = {}

    def build(**arguments):
        seen.update(arguments)
        return nn.Identity()

    create(build, num_classes=4, in_channels=1, size=(8, 6), extra=True)
    assert seen == {"num_classes": 4, "in_channels": 1, "size": (8, 6), "extra": True}


def test_a_function_that_returns_no_module_is_refused():
    with pytest.raises(InputError, match="expected it to return a module, found int") as caught:
        create(lambda: 3, num_classes=4)
    assert caught.value.exit_code == 2


def test_a_function_with_an_argument_nobody_gives_is_refused():
    with pytest.raises(InputError, match="missing a required argument: 'depth'"):
        create(lambda depth: nn.Identity(), num_classes=4)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("small_cn", "did you mean 'small_cnn'"),
        ("timm/resnet81", "did you mean 'resnet18'"),
        ("torchvision/resnet81", "did you mean 'resnet18'"),
        ("timm/resnet18.no_such_tag", "known|did you mean"),
        ("tim/resnet18", "timm/NAME"),
    ],
)
def test_an_unknown_name_is_answered_with_close_ones(name, hint):
    pytest.importorskip("timm")
    with pytest.raises(InputError, match=hint):
        create(name, num_classes=10)


@pytest.mark.parametrize("name", ["small_cnn", "timm/resnet18", "torchvision/resnet18"])
def test_an_unknown_option_is_named(name):
    pytest.importorskip("timm")
    with pytest.raises(InputError, match="widhts") as caught:
        create(name, num_classes=10, widhts=(1, 2))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("bad", [{"num_classes": 0}, {"num_classes": 2, "in_channels": 0}])
def test_counts_below_one_are_refused(bad):
    with pytest.raises(InputError, match="of at least 1"):
        create("small_cnn", **bad)


def test_built_in_nets_have_no_published_weights():
    with pytest.raises(InputError, match="no published weights"):
        create("small_cnn", num_classes=10, pretrained=True)


def test_published_and_local_weights_exclude_each_other():
    with pytest.raises(InputError, match="found both"):
        create("timm/resnet18", num_classes=10, pretrained=True, weights="x.safetensors")


def test_timm_models_take_any_channels_and_classes():
    pytest.importorskip("timm")
    model = create("timm/resnet18", num_classes=7, in_channels=1).eval()
    assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 7)


def test_torchvision_models_take_any_classes():
    pytest.importorskip("torchvision")
    model = create("torchvision/squeezenet1_1", num_classes=7).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 7)


def test_torchvision_models_with_one_channel_are_refused():
    pytest.importorskip("torchvision")
    with pytest.raises(InputError, match=r"expected in_channels=3, found 1.*timm/NAME"):
        create("torchvision/resnet18", num_classes=7, in_channels=1)


@pytest.mark.parametrize("name", ["timm/resnet18", "torchvision/resnet18"])
def test_published_weights_for_other_classes_are_refused_before_the_download(name):
    pytest.importorskip("timm")
    with pytest.raises(InputError, match=r"for 10 classes, found them for 1000.*class_map"):
        create(name, num_classes=10, pretrained=True)


def test_a_timm_model_without_published_weights_is_refused():
    timm = pytest.importorskip("timm")
    bare = next(n for n in timm.list_models("*resnet*") if not timm.list_pretrained(f"{n}.*"))
    with pytest.raises(InputError, match="expected published weights, found none"):
        create(f"timm/{bare}", num_classes=1000, pretrained=True)


def test_weights_that_cannot_be_fetched_are_a_resource_error(monkeypatch):
    timm = pytest.importorskip("timm")

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ResourceError, match=r"no route to host.*weights=PATH") as caught:
        create("timm/resnet18", num_classes=1000, pretrained=True)
    assert caught.value.exit_code == 5


def test_published_torchvision_weights_are_loaded_and_state_their_inputs(monkeypatch):
    models = pytest.importorskip("torchvision.models")
    published = models.squeezenet1_1(num_classes=1000).state_dict()
    weights = type(models.SqueezeNet1_1_Weights.DEFAULT)
    monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: published)
    model = create("torchvision/squeezenet1_1", num_classes=1000, pretrained=True)
    assert torch.equal(model.classifier[1].bias, published["classifier.1.bias"])
    assert model.pretrained_cfg["mean"] == (0.485, 0.456, 0.406)
    assert model.pretrained_cfg["input_size"] == (3, 224, 224)


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
@pytest.mark.parametrize("name", ["timm", "torchvision"])
def test_a_missing_or_broken_package_names_the_extra(monkeypatch, name, error):
    class Broken:
        def find_spec(self, module, *_):
            if module.split(".")[0] == name:
                raise error("operator torchvision::nms does not exist")

    for module in [m for m in sys.modules if m.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingPackageError, match=r'pip install "tutelage\[vision\]"') as caught:
        create(f"{name}/resnet18", num_classes=10)
    assert caught.value.exit_code == 2


def test_an_untrained_classifier_is_logged(tmp_path, caplog):
    path = tmp_path / "net.pt"
    torch.save(create("small_cnn", num_classes=10).state_dict(), path)
    with caplog.at_level(logging.WARNING):
        create("small_cnn", num_classes=4, weights=path, allow_random_head=True)
    assert "untrained: head.weight, head.bias" in caplog.text
