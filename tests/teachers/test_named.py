import copy

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tutelage.errors import DataError, InputError, TeacherError
from tutelage.models import create
from tutelage.teachers import FrozenTeacher, InputSpec, named


@pytest.fixture
def trained(tmp_path):
    model = create("small_cnn", num_classes=10, in_channels=1, widths=(4, 8)).eval()
    save_file(model.state_dict(), tmp_path / "teacher.safetensors")
    return model, tmp_path / "teacher.safetensors"


def test_a_name_and_a_file_give_the_trained_model(trained):
    model, path = trained
    teacher = FrozenTeacher("small_cnn", num_classes=10, in_channels=1, weights=path, widths=(4, 8))
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(teacher(x).logits, model(x))


def test_a_file_is_loaded_into_a_module_too(trained):
    model, path = trained
    other = create("small_cnn", num_classes=10, in_channels=1, widths=(4, 8))
    teacher = FrozenTeacher(other, weights=path)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(teacher(x).logits, model(x))


def test_a_colour_teacher_takes_a_grey_students_images(tmp_path):
    model = create("small_cnn", num_classes=10, in_channels=3, widths=(4,)).eval()
    torch.save(model.state_dict(), tmp_path / "teacher.pt")
    teacher = FrozenTeacher(
        "small_cnn",
        num_classes=10,
        weights=tmp_path / "teacher.pt",
        given=InputSpec(channels=1),
        widths=(4,),
    )
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(teacher(x).logits, model(x.repeat(1, 3, 1, 1)))


def test_a_name_without_weights_is_refused():
    with pytest.raises(TeacherError, match=r"random weights; pass weights=PATH") as caught:
        FrozenTeacher("small_cnn", num_classes=10)
    assert caught.value.exit_code == 2


def test_a_name_without_a_class_count_is_refused(trained):
    with pytest.raises(TeacherError, match="pass num_classes="):
        FrozenTeacher("small_cnn", weights=trained[1])


def test_weights_for_other_classes_are_refused_unless_allowed(trained):
    options = {"num_classes": 4, "in_channels": 1, "weights": trained[1], "widths": (4, 8)}
    with pytest.raises(InputError, match=r"for 4 classes, found one for 10.*class_map"):
        FrozenTeacher("small_cnn", **options)
    teacher = FrozenTeacher("small_cnn", **options, allow_random_head=True)
    assert torch.equal(teacher.model.stage1.conv1.weight, trained[0].stage1.conv1.weight)


def test_a_damaged_file_is_named(trained):
    trained[1].write_bytes(trained[1].read_bytes()[:-1])
    with pytest.raises(DataError, match=r"teacher\.safetensors") as caught:
        FrozenTeacher("small_cnn", num_classes=10, weights=trained[1])
    assert caught.value.exit_code == 3


def test_a_teacher_by_name_can_be_cast(trained):
    teacher = FrozenTeacher(
        "small_cnn",
        num_classes=10,
        in_channels=1,
        weights=trained[1],
        widths=(4, 8),
        dtype=torch.bfloat16,
    )
    assert teacher(torch.zeros(2, 1, 8, 8)).logits.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 3}, "num_classes go with a model's name"),
        ({"widths": (3,), "pretrained": True}, "pretrained, widths go with"),
        ({"dtype": torch.float16}, r"copy\.deepcopy\(model\)\.to\(dtype\)"),
    ],
)
def test_arguments_for_names_are_refused_beside_a_module(options, message):
    with pytest.raises(TeacherError, match=message):
        FrozenTeacher(nn.Linear(2, 2), **options)


def test_neither_a_function_nor_a_teacher_is_a_module():
    with pytest.raises(TeacherError, match="CallableTeacher"):
        FrozenTeacher(lambda x: x)
    with pytest.raises(TeacherError, match="found a teacher; use it as it is"):
        FrozenTeacher(FrozenTeacher(nn.Linear(2, 2)))


def test_published_weights_state_their_inputs_and_a_local_file_does_not(monkeypatch, tmp_path):
    pytest.importorskip("timm")
    model = create("timm/resnet18", num_classes=1000)
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    monkeypatch.setattr(named, "create", lambda *_, **__: copy.deepcopy(model))
    imagenet = InputSpec(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), size=(32, 32))
    with pytest.raises(TeacherError, match="statistics of the student's images are not known"):
        FrozenTeacher("timm/resnet18", num_classes=1000, pretrained=True)
    teacher = FrozenTeacher("timm/resnet18", num_classes=1000, pretrained=True, given=imagenet)
    assert teacher.adapter.size == (224, 224)
    assert teacher.adapter.scale is None
    local = FrozenTeacher(
        "timm/resnet18", num_classes=1000, weights=tmp_path / "net.safetensors", given=imagenet
    )
    assert local.adapter.is_identity
