"""Case 8 of the fault plan: the augmentation's library does something else than it did."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tutelage.cache.manifest import Manifest
from tutelage.cache.spec import Layout
from tutelage.data import ShiftFlip, TensorImages
from tutelage.errors import DataError
from tutelage.training.canaries import canaries_of, changed_canaries
from tutelage.training.identity import check_canaries, versions


def random_shift(image: Tensor) -> Tensor:
    return image.roll(int(torch.randint(6, ())), -1)


@pytest.fixture
def data(splits) -> TensorImages:
    splits.labelled.transform = random_shift
    return splits.labelled


def manifest_of(data: TensorImages, **others: str) -> Manifest:
    canaries = canaries_of(data, views=3, view_seed=7)
    identity = {"canaries": canaries, "versions": {**versions(), **others}}
    return Manifest(Layout(num_classes=3, views=3, view_seed=7), 40, 40, "00", identity)


def test_canaries_stay_the_same_whatever_the_run_has_drawn(data) -> None:
    canaries = canaries_of(data, views=3, view_seed=7)
    assert len(canaries) == 8
    assert {canary["view"] for canary in canaries} == {0, 1, 2}
    assert len({canary["id"] for canary in canaries}) == 8
    data.seed, _ = 99, torch.rand(5)
    data.set_view(2)
    order = torch.randperm(len(data))
    assert changed_canaries(data.subset(order), canaries, view_seed=7) == []
    assert (data.seed, data.view) == (99, 2)


def test_another_seed_of_the_views_changes_canaries(data) -> None:
    assert changed_canaries(data, canaries_of(data, views=3, view_seed=7), view_seed=8)


def test_rounding_of_another_processor_changes_none_and_one_grey_level_does(data) -> None:
    data.transform = None
    canaries = canaries_of(data, views=1, view_seed=0)
    data._offset = data._offset * (1 + 1e-7)
    assert data._offset.item() != -0.4 / 0.3
    assert changed_canaries(data, canaries, view_seed=0) == []
    data._images[:, 0, 2, 3] += 1 / 255
    assert len(changed_canaries(data, canaries, view_seed=0)) == 8


def test_one_grey_level_of_one_pixel_shows_in_a_large_image() -> None:
    from tutelage.data import DataSpec

    spec = DataSpec("big", 2, ("a", "b"), 3, (224, 224), (0.5,) * 3, (0.25,) * 3)
    pixels = torch.randint(0, 255, (2, 3, 224, 224), dtype=torch.uint8)
    data = TensorImages(pixels, torch.tensor([0, 1]), spec)
    canaries = canaries_of(data, views=1, view_seed=0)
    assert changed_canaries(data, canaries, view_seed=0) == []
    pixels[:, 1, 100, 100] += 1
    assert len(changed_canaries(data, canaries, view_seed=0)) == 2


def test_case_8_changed_augmentation_of_the_same_name_is_refused(data, monkeypatch) -> None:
    data.transform = ShiftFlip(2)
    manifest = manifest_of(data, torchvision="0.1.2")
    check_canaries("kept", manifest, data)
    monkeypatch.setattr(ShiftFlip, "__call__", lambda self, images, seeds: images.flip(-2))
    with pytest.raises(DataError, match="other pixels in 8 of 8 that were drawn again") as caught:
        check_canaries("kept", manifest, data)
    assert f"torchvision  {versions()['torchvision']}" in str(caught.value)
    assert "0.1.2" in str(caught.value)
    assert caught.value.exit_code == 3


def test_case_8_without_a_change_of_pixels_other_versions_are_no_reason(data) -> None:
    check_canaries("kept", manifest_of(data, torch="1.0", numpy="1.0"), data)


def test_case_8_equal_versions_are_said_to_be_equal(data) -> None:
    manifest = manifest_of(data)
    other = replace(manifest, layout=replace(manifest.layout, view_seed=1))
    with pytest.raises(DataError, match="all libraries have the same version"):
        check_canaries("kept", other, data)
