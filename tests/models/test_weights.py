import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tutelage.errors import InputError
from tutelage.models import create, load_tensors, load_weights

pytestmark = pytest.mark.filterwarnings("ignore:torch .* has a known fault")


def cnn(num_classes=10, **options):
    return create("small_cnn", num_classes=num_classes, widths=(4, 4), **options)


def saved(model, path):
    save_file({name: t.contiguous() for name, t in model.state_dict().items()}, path)
    return path


def test_loaded_weights_give_the_same_output(tmp_path):
    source, target = cnn().eval(), cnn().eval()
    report = load_weights(target, saved(source, tmp_path / "a.safetensors"))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(source(x), target(x))
    assert report.loaded == len(source.state_dict())
    assert report.random_head == ()


def test_another_class_count_names_both_shapes_and_both_ways_on(tmp_path):
    path = saved(cnn(10), tmp_path / "ten.safetensors")
    model = cnn(4)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_weights(model, path)
    for part in (
        "ten.safetensors: expected a classifier for 4 classes, found one for 10",
        "head.weight: model [4, 4], file [10, 4]",
        "num_classes=10",
        "class_map",
        "allow_random_head=True",
    ):
        assert part in str(caught.value)
    assert caught.value.exit_code == 2
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_an_allowed_random_head_is_reported_and_all_else_loaded(tmp_path):
    source, model = cnn(10), cnn(4)
    head = model.head.weight.clone()
    path = saved(source, tmp_path / "ten.safetensors")
    report = load_weights(model, path, allow_random_head=True)
    assert report.random_head == ("head.weight", "head.bias")
    assert torch.equal(model.head.weight, head)
    for name, tensor in source.state_dict().items():
        if not name.startswith("head"):
            assert torch.equal(model.state_dict()[name], tensor), name


def test_another_width_is_not_taken_for_another_class_count(tmp_path):
    path = saved(create("small_cnn", num_classes=10, widths=(4, 8)), tmp_path / "wide.safetensors")
    with pytest.raises(InputError, match="other shapes than the model's"):
        load_weights(cnn(10), path, allow_random_head=True)


def test_other_input_channels_are_not_taken_for_another_class_count():
    grey = cnn(in_channels=1).state_dict()
    with pytest.raises(InputError, match=r"model \[4, 3, 3, 3\], file \[4, 1, 3, 3\]"):
        load_tensors(cnn(in_channels=3), grey, source="file.pt", allow_random_head=True)


def test_names_that_do_not_fit_are_listed_with_close_ones():
    weights = dict(cnn().state_dict())
    weights["haed.bias"] = weights.pop("head.bias")
    with pytest.raises(InputError) as caught:
        load_tensors(cnn(), weights, source="file.pt")
    for part in ("1 missing, such as head.bias", "1 unexpected", "did you mean 'head.bias'?"):
        assert part in str(caught.value)


def test_a_missing_tensor_is_an_error_even_with_a_random_head():
    weights = dict(cnn().state_dict())
    del weights["stage1.conv1.weight"]
    with pytest.raises(InputError, match=r"1 missing, such as stage1\.conv1\.weight"):
        load_tensors(cnn(), weights, source="file.pt", allow_random_head=True)


def test_a_wrapping_modules_name_before_all_keys_is_dropped():
    source, target = cnn(), cnn()
    wrapped = {f"backbone.{name}": t for name, t in source.state_dict().items()}
    assert load_tensors(target, wrapped, source="file.pt").loaded == len(wrapped)
    assert torch.equal(target.head.weight, source.head.weight)


def test_a_model_that_really_has_that_name_keeps_it():
    model = nn.Sequential()
    model.add_module("net", nn.Linear(2, 2))
    weights = {name: t + 1 for name, t in model.state_dict().items()}
    load_tensors(model, weights, source="file.pt")
    assert torch.equal(model.net.bias, weights["net.bias"])


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
def test_numbers_of_another_kind_are_refused_and_nothing_is_loaded(tmp_path, dtype):
    model = nn.Linear(2, 3)
    before = model.weight.detach().clone()
    file = {"weight": torch.ones(3, 2).to(dtype), "bias": torch.ones(3)}
    torch.save(file, tmp_path / "net.pt")
    with pytest.raises(InputError, match=rf"weight: model torch.float32, file {dtype}; convert"):
        load_weights(model, tmp_path / "net.pt")
    assert torch.equal(model.weight, before)


def test_another_width_of_the_same_kind_is_converted(tmp_path):
    model = nn.BatchNorm1d(3)
    file = {name: t.to(torch.float16) for name, t in model.state_dict().items()}
    file["num_batches_tracked"] = torch.tensor(7, dtype=torch.int32)
    torch.save(file, tmp_path / "net.pt")
    load_weights(model, tmp_path / "net.pt")
    assert model.num_batches_tracked == 7
