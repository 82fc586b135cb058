"""Cases 3, 4 and 5 of the fault plan: another teacher, other preparation, other data."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.cache.manifest import Manifest
from tutelage.cache.spec import Layout
from tutelage.data import DataSpec, ShiftFlip, TensorImages
from tutelage.errors import DataError, InputError, TeacherError
from tutelage.teachers import InputSpec
from tutelage.training.identity import check_identity, identity_of, teacher_identity


@pytest.fixture
def make() -> Callable[..., TensorImages]:
    """Images that may differ from each other in one thing."""

    def build(count=12, *, label=0, pixel=0, mean=0.4, name="ramps", side=6, **options):
        images = torch.arange(count * side * side).remainder(256).to(torch.uint8)
        images = images.view(count, 1, side, side).clone()
        images[-1, 0, 0, 0] += pixel
        targets = torch.arange(count) % 3
        targets[0] = label
        spec = DataSpec(name, 3, ("a", "b", "c"), 1, (side, side), (mean,), (0.3,))
        return TensorImages(images, targets, spec, **{"transform": ShiftFlip(1), **options})

    return build


@pytest.fixture
def kept(net, make) -> Manifest:
    identity = identity_of(tl.FrozenTeacher(net(8)), make(), views=2, view_seed=3)
    return Manifest(Layout(num_classes=3, views=2, view_seed=3), 12, 12, "00", identity)


def with_sparse_buffer(model: nn.Module) -> nn.Module:
    model.register_buffer("links", torch.eye(2).to_sparse())
    return model


def refused(kept: Manifest, data: TensorImages, teacher=None) -> str:
    with pytest.raises(DataError, match="expected what this run needs") as caught:
        check_identity("kept", kept, data, teacher=teacher)
    assert caught.value.exit_code == 3
    fields = [line.split()[0] for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert fields.pop(0) == "field"
    return " ".join(fields)


def test_the_same_teacher_and_data_are_accepted(kept, net, make) -> None:
    check_identity("kept", kept, make(seed=8), teacher=tl.FrozenTeacher(net(8)))
    check_identity("kept", kept, make().subset(torch.randperm(12)))


def test_case_3_one_tensor_a_thousandth_off_is_refused_with_both_fingerprints(
    kept, net, make
) -> None:
    model = net(8)
    with torch.no_grad():
        model.head.bias[1] += 1e-3
    teacher = tl.FrozenTeacher(model)
    with pytest.raises(DataError, match="expected what this run needs") as caught:
        check_identity("kept", kept, make(), teacher=teacher)
    assert refused(kept, make(), teacher) == "teacher.tensors"
    for side in (teacher_identity(teacher), kept.identity["teacher"]):
        assert side["tensors"] in str(caught.value)


def test_case_3_buffers_count_as_well(net) -> None:
    first, second = net(8, norm=True), net(8, norm=True)
    second.norm.running_mean[0] += 1e-3
    prints = [teacher_identity(tl.FrozenTeacher(one))["tensors"] for one in (first, second)]
    assert prints[0] != prints[1]


def test_case_3_other_architecture_class_map_and_dtype_are_told_apart(kept, net, make) -> None:
    model = net(8)
    model.relu = nn.LeakyReLU()
    assert refused(kept, make(), tl.FrozenTeacher(model)) == "teacher.architecture"
    mapped = tl.FrozenTeacher(net(8), class_map=[0, 2, 1])
    assert refused(kept, make(), mapped) == "teacher.class_axis teacher.class_map"
    cast = tl.FrozenTeacher(net(8).double())
    assert refused(kept, make(), cast) == "teacher.dtype teacher.tensors"


def test_case_3_precision_tells_teachers_apart_and_memory_layout_does_not(kept, net, make) -> None:
    assert refused(kept, make(), tl.FrozenTeacher(net(8), precision="bf16")) == "teacher.precision"
    check_identity("kept", kept, make(), teacher=tl.FrozenTeacher(net(8), channels_last=True))


def test_case_4_other_conversion_of_the_teacher_is_refused_field_by_field(net, make) -> None:
    given = InputSpec(mean=(0.4,), std=(0.3,), size=6)
    wanted = InputSpec(mean=(0.5,), std=(0.5,), size=6)
    first = tl.FrozenTeacher(net(8), inputs=wanted, given=given)
    identity = identity_of(first, make(), views=1, view_seed=0)
    kept = Manifest(Layout(num_classes=3), 12, 12, "00", identity)
    others = {
        "teacher.wanted.mean": replace(wanted, mean=(0.45,)),
        "teacher.wanted.std": replace(wanted, std=(0.25,)),
        "teacher.wanted.size": replace(wanted, size=(7, 7)),
        "teacher.wanted.interpolation": replace(wanted, interpolation="bicubic"),
    }
    for field, spec in others.items():
        teacher = tl.FrozenTeacher(net(8), inputs=spec, given=given)
        assert refused(kept, make(), teacher) == field


def test_case_4_other_normalisation_of_the_data_is_refused_field_by_field(kept, make) -> None:
    assert refused(kept, make(mean=0.41)) == "inputs.mean"
    assert refused(kept, make(pixel_max=254)) == "inputs.pixel_max"
    assert refused(kept, make(transform=ShiftFlip(2))) == "augmentation.transform"
    assert refused(kept, make(transform=None)) == "augmentation.transform"


def test_case_5_sample_added(kept, make) -> None:
    assert refused(kept, make(13)) == "data.contents data.count data.ids data.labels"


def test_case_5_sample_relabelled(kept, make) -> None:
    assert refused(kept, make(label=1)) == "data.labels"


def test_case_5_same_sample_with_other_pixels(kept, make) -> None:
    assert refused(kept, make(pixel=1)) == "data.contents"


def test_case_5_same_images_in_another_order_are_no_positional_match(kept, make) -> None:
    data = make()
    data.ids = data.ids.flip(0)
    assert refused(kept, data) == "data.contents data.labels"


def test_an_ensemble_is_known_by_all_its_members(net, make) -> None:
    members = {"a": tl.FrozenTeacher(net(8)), "b": tl.FrozenTeacher(net(6))}
    first = teacher_identity(tl.EnsembleTeacher(members))
    assert first != teacher_identity(tl.EnsembleTeacher(members, weights=[1, 2]))
    members["b"] = tl.FrozenTeacher(net(6, seed=1))
    second = teacher_identity(tl.EnsembleTeacher(members))
    assert first["members"]["a"] == second["members"]["a"]
    assert first["members"]["b"] != second["members"]["b"]


@pytest.mark.parametrize("kind", ["callable", "shuffled", "meta", "sparse", "bare"])
def test_a_teacher_that_nothing_tells_apart_is_refused(net, kind) -> None:
    frozen = tl.FrozenTeacher(net(8))
    teacher = {
        "callable": lambda: tl.CallableTeacher(lambda x: x),
        "shuffled": lambda: tl.ShuffledTeacher(frozen, seed=0),
        "meta": lambda: tl.FrozenTeacher(nn.Linear(2, 2, device="meta")),
        "sparse": lambda: tl.FrozenTeacher(with_sparse_buffer(nn.Linear(2, 2))),
        "bare": lambda: tl.FrozenTeacher(nn.Flatten()),
    }[kind]()
    with pytest.raises(TeacherError, match="cache: expected a teacher whose"):
        teacher_identity(teacher)


def test_a_data_set_that_cannot_tell_its_content_is_refused(net, make) -> None:
    from tutelage.data import ImageData

    data = make()
    data.__class__ = type("Own", (ImageData,), {"_inputs": TensorImages._inputs})
    with pytest.raises(InputError, match=r"images with a fingerprint, found Own.*content_digest"):
        identity_of(tl.FrozenTeacher(net(8)), data, views=1, view_seed=0)
