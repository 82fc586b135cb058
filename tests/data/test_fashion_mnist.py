import gzip
import sys
import types

import numpy as np
import pytest
import torch

from tutelage.data import fashion_mnist, load_fashion_mnist
from tutelage.data.fashion_mnist import FILES, SPEC
from tutelage.errors import DataError, InputError, MissingPackageError


def encode(array):
    header = bytes([0, 0, 8, array.ndim])
    return header + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()


def arrays(train=40, test=10, side=28):
    found = []
    for count in (train, test):
        pixels = np.arange(count * side * side) * 7 % 256
        found.append(pixels.astype(np.uint8).reshape(count, side, side))
        found.append((np.arange(count) % 10).astype(np.uint8))
    return found


def write(folder, contents=None, *, packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(FILES, contents or arrays(), strict=True):
        content = encode(array)
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Hide the copies that this machine may have."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TUTELAGE_DATA", raising=False)
    places = fashion_mnist._places

    def without_system(root):
        return [place for place in places(root) if not str(place).startswith("/usr")]

    monkeypatch.setattr(fashion_mnist, "_places", without_system)
    return tmp_path


@pytest.mark.parametrize("packed", [True, False])
def test_the_four_files_give_normalised_images_labels_and_ids(tmp_path, packed):
    contents = arrays()
    splits = load_fashion_mnist(root=write(tmp_path, contents, packed=packed), validation=10)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [30, 10, 10]
    batch = splits.train.__getitems__([0, 17, 29])
    pixels = torch.from_numpy(contents[0])[batch.ids][:, None] / 255
    torch.testing.assert_close(batch.inputs, (pixels - SPEC.mean[0]) / SPEC.std[0])
    assert batch.target.tolist() == (batch.ids % 10).tolist()
    assert splits.test.ids.tolist() == list(range(40, 50))


@pytest.mark.parametrize("below", ["fashion-mnist", "", "FashionMNIST/raw"])
def test_root_may_be_the_folder_or_the_one_above(tmp_path, nowhere, below):
    write(tmp_path / "own" / below)
    assert len(load_fashion_mnist(root=tmp_path / "own", validation=10).test) == 10


@pytest.mark.parametrize("below", ["fashion-mnist", ""])
def test_the_environment_names_a_place(nowhere, monkeypatch, below):
    write(nowhere / "sets" / below)
    monkeypatch.setenv("TUTELAGE_DATA", str(nowhere / "sets"))
    assert len(load_fashion_mnist(validation=10).test) == 10


def test_the_place_of_torchvision_is_found(nowhere):
    write(nowhere / "data" / "FashionMNIST" / "raw", packed=False)
    assert len(load_fashion_mnist(validation=10).test) == 10


def test_the_environment_comes_before_the_place_of_torchvision(nowhere, monkeypatch):
    write(nowhere / "data" / "FashionMNIST" / "raw")
    write(nowhere / "sets", arrays(test=20))
    monkeypatch.setenv("TUTELAGE_DATA", str(nowhere / "sets"))
    assert len(load_fashion_mnist(validation=10).test) == 20


def test_the_package_of_debian_is_among_the_places():
    assert "/usr/share/datasets/fashion-mnist" in map(str, fashion_mnist._places(None))


def test_missing_files_are_an_error_that_names_every_place_and_the_remedies(nowhere, monkeypatch):
    monkeypatch.setenv("TUTELAGE_DATA", "/sets")
    with pytest.raises(InputError) as caught:
        load_fashion_mnist()
    message = str(caught.value)
    assert caught.value.exit_code == 2
    places = ("'/sets/fashion-mnist'", "'/sets'", "'data/FashionMNIST/raw'")
    for part in (*places, "apt install dataset-fashion-mnist", "download=True", FILES[0]):
        assert part in message


def test_one_missing_file_is_enough_to_look_on(nowhere):
    (write(nowhere / "own") / f"{FILES[3]}.gz").unlink()
    with pytest.raises(InputError, match="in none of these"):
        load_fashion_mnist(root=nowhere / "own")


def test_a_given_root_is_never_replaced_by_another_place(nowhere):
    write(nowhere / "data" / "FashionMNIST" / "raw")
    with pytest.raises(InputError, match="'typo'"):
        load_fashion_mnist(root="typo", validation=10)


@pytest.mark.parametrize("position", range(4))
def test_a_truncated_file_is_named(tmp_path, position):
    write(tmp_path, packed=False)
    path = tmp_path / FILES[position]
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(DataError, match=f"{FILES[position]}.*truncated") as caught:
        load_fashion_mnist(root=tmp_path)
    assert caught.value.exit_code == 3


def test_images_and_labels_that_differ_in_number_are_refused(tmp_path):
    contents = arrays()
    contents[1] = contents[1][:-1]
    with pytest.raises(DataError, match=f"{FILES[1]}.*each of the 40 images.*found 39"):
        load_fashion_mnist(root=write(tmp_path, contents))


def test_images_of_another_size_are_refused(tmp_path):
    with pytest.raises(DataError, match=f"{FILES[0]}.*28x28 pixels, found 20x20"):
        load_fashion_mnist(root=write(tmp_path, arrays(side=20)))


def test_a_label_outside_the_classes_is_refused(tmp_path):
    contents = arrays()
    contents[3][4] = 10
    with pytest.raises(DataError, match=r"fashion-mnist: .*found 10 at index 4"):
        load_fashion_mnist(root=write(tmp_path, contents))


def test_download_goes_through_torchvision_and_only_when_asked(nowhere, monkeypatch):
    calls = []

    def fetch(root, download):
        calls.append((root, download))
        write(nowhere / root / "FashionMNIST" / "raw")

    datasets = types.SimpleNamespace(FashionMNIST=fetch)
    monkeypatch.setattr(fashion_mnist, "torchvision_module", lambda name: datasets)
    with pytest.raises(InputError):
        load_fashion_mnist(root="sets", validation=10)
    assert calls == []
    assert len(load_fashion_mnist(root="sets", validation=10, download=True).test) == 10
    assert calls == [("sets", True)]


def test_download_without_torchvision_names_the_extra(nowhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(MissingPackageError, match=r'pip install "tutelage\[vision\]"') as caught:
        load_fashion_mnist(download=True)
    assert caught.value.exit_code == 2


@pytest.fixture(scope="module")
def real():
    try:
        return load_fashion_mnist(labelled=1000)
    except InputError:
        pytest.skip("needs Fashion-MNIST: apt install dataset-fashion-mnist")


def test_the_real_files_hold_70000_images_in_equal_classes(real):
    assert [len(part) for part in (real.train, real.labelled, real.validation, real.test)] == [
        55_000,
        1000,
        5000,
        10_000,
    ]
    assert real.test.targets.bincount().tolist() == [1000] * 10
    assert real.validation.targets.bincount().tolist() == [500] * 10


def test_the_stated_mean_and_std_are_those_of_the_real_training_pixels(real):
    pixels = real.train._images.double() / 255
    assert real.spec.mean == (round(pixels.mean().item(), 4),)
    assert real.spec.std == (round(pixels.std(correction=0).item(), 4),)


@pytest.mark.parametrize("size", [14, 7])
def test_smaller_images_are_means_of_squares(tmp_path, size):
    write(tmp_path)
    whole = load_fashion_mnist(root=tmp_path, validation=10)
    small = load_fashion_mnist(root=tmp_path, validation=10, size=size)
    side = 28 // size
    pixels = whole.test._images.double().unfold(2, side, side).unfold(3, side, side).mean((-1, -2))
    torch.testing.assert_close(small.test._images, pixels.round().to(torch.uint8))
    assert small.spec.size == (size, size)
    with pytest.raises(InputError, match="expected size to be one of 28, 14, 7, found 13"):
        load_fashion_mnist(root=tmp_path, size=13)


@pytest.mark.parametrize("size", [14, 7])
def test_the_stated_std_of_smaller_images_is_that_of_the_real_ones(real, size):
    small = load_fashion_mnist(size=size)
    pixels = small.train._images.double() / 255
    assert small.spec.std == pytest.approx((pixels.std(correction=0).item(),), abs=2e-4)
