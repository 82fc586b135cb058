import sys
from itertools import chain

import pytest
import torch

from tutelage.data import load_image_folder, loader
from tutelage.errors import DataError, InputError, MissingPackageError

CLASSES = {"cat": 12, "dog": 8}
PARTS = {f"{part}/{name}": 6 for part in ("train", "val", "test") for name in CLASSES}


def load(root, **options):
    return load_image_folder(root=root, **({"size": 8, "augment": "none"} | options))


def ids(data):
    return set(data.ids.tolist())


def test_class_folders_are_divided_without_a_common_image(image_folder):
    splits = load(image_folder(CLASSES), validation=4, test=0.3)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [10, 4, 6]
    assert ids(splits.train) | ids(splits.validation) | ids(splits.test) == set(range(20))
    assert splits.spec.class_names == ("cat", "dog")
    assert splits.test.targets.bincount().tolist() == [4, 2]


def test_an_id_is_the_position_in_the_sorted_list(image_folder):
    root = image_folder(CLASSES)
    files = sorted(root.glob("*/*.png"))
    splits = load(root)
    for part in (splits.train, splits.validation, splits.test):
        assert part.paths == [str(files[sample_id]) for sample_id in part.ids]
        assert [splits.spec.class_names[label] for label in part.targets] == [
            files[sample_id].parent.name for sample_id in part.ids
        ]


def test_the_run_seed_moves_no_image_between_the_parts(image_folder):
    root = image_folder(CLASSES)
    first, other = (load(root, seed=seed, labelled=6) for seed in (0, 1))
    assert ids(first.test) == ids(other.test)
    assert ids(first.validation) == ids(other.validation)
    assert ids(first.labelled) != ids(other.labelled)
    assert ids(load(root, split_seed=1).test) != ids(first.test)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_part_folders_are_taken_as_they_are(image_folder, name):
    splits = load(image_folder({key.replace("val", name): n for key, n in PARTS.items()}))
    assert [ids(splits.train), ids(splits.validation), ids(splits.test)] == [
        set(range(12)),
        set(range(12, 24)),
        set(range(24, 36)),
    ]
    assert all(f"/{name}/" in path for path in splits.validation.paths)


@pytest.mark.parametrize("only", ["val", "test"])
def test_a_single_other_part_is_the_test_set(image_folder, only):
    root = image_folder({key: n for key, n in PARTS.items() if key.startswith(("train", only))})
    splits = load(root, validation=2)
    assert all(f"/{only}/" in path for path in splits.test.paths)
    assert all("/train/" in path for path in splits.validation.paths)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [10, 2, 12]


def test_training_images_alone_give_all_parts(image_folder):
    splits = load(image_folder({"train/cat": 10, "train/dog": 10}), validation=2, test=4)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [14, 2, 4]


def test_a_class_may_be_called_train(image_folder):
    assert load(image_folder({"train": 10, "bus": 10})).spec.class_names == ("bus", "train")


@pytest.mark.parametrize("option", ["validation", "test"])
def test_holding_out_what_has_its_own_folder_is_refused(image_folder, option):
    with pytest.raises(InputError, match=f"{option}=0.2 would hold out .* drop {option}="):
        load(image_folder(PARTS), **{option: 0.2})


@pytest.mark.parametrize("part", ["val", "test"])
def test_parts_with_other_classes_are_refused(image_folder, part):
    layout = {key.replace(f"{part}/dog", f"{part}/dgo"): n for key, n in PARTS.items()}
    with pytest.raises(
        DataError, match=rf"train and {part}, found only in train: \['dog'\].*\['dgo'\]"
    ) as caught:
        load(image_folder(layout))
    assert caught.value.exit_code == 3


def test_two_validation_folders_are_refused(image_folder):
    with pytest.raises(InputError, match="one folder of validation images"):
        load(image_folder(PARTS | {"validation/cat": 1, "validation/dog": 1}))


def test_names_of_parts_may_be_in_capitals(image_folder):
    layout = {key.replace("train", "Train").replace("test", "TEST"): n for key, n in PARTS.items()}
    splits = load(image_folder(layout))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [12, 12, 12]
    assert all("/TEST/" in path for path in splits.test.paths)


def test_two_folders_of_one_part_are_refused(image_folder):
    layout = PARTS | {"Test/cat": 1, "Test/dog": 1}
    with pytest.raises(InputError, match="one folder of test images, found 'Test', 'test'; keep"):
        load(image_folder(layout))


def test_a_test_part_that_is_the_training_part_is_refused(image_folder):
    root = image_folder({key: n for key, n in PARTS.items() if key.startswith("train")})
    (root / "test").symlink_to(root / "train", target_is_directory=True)
    with pytest.raises(DataError, match=r"train/cat/000\.png' and '.*test/cat/000\.png' are one"):
        load(root)


def test_one_class_is_refused(image_folder):
    with pytest.raises(InputError, match="found only class 'cat'") as caught:
        load(image_folder({"cat": 10}))
    assert caught.value.exit_code == 2


def test_a_missing_root_is_refused(tmp_path, pillow):
    with pytest.raises(InputError, match="expected root="):
        load(None)
    with pytest.raises(InputError, match="absent"):
        load(tmp_path / "absent")


def test_verify_finds_a_damaged_image_before_training(image_folder):
    root = image_folder(CLASSES)
    (root / "dog" / "003.png").write_bytes(b"broken")
    load(root)
    with pytest.raises(DataError, match=r"found 1 unreadable:\s+'.*dog.003\.png'"):
        load(root, verify=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_image_is_named_when_it_is_read(image_folder, workers):
    root = image_folder(CLASSES)
    (root / "dog" / "003.png").write_bytes(b"broken")
    splits = load(root)
    parts = (splits.train, splits.validation, splits.test)
    batches = chain(*(loader(part, 4, seed=0, epoch=0, workers=workers) for part in parts))
    with pytest.raises(DataError, match=r"^'.*dog.003\.png': expected a readable image"):
        list(batches)


def test_images_are_normalised_with_the_stated_mean_and_std(image_folder):
    splits = load(image_folder(CLASSES))
    assert splits.spec.mean == (0.485, 0.456, 0.406)
    raw = load(image_folder(CLASSES, name="again"), mean=(0, 0, 0), std=(1, 1, 1))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (splits.spec.mean, splits.spec.std))
    torch.testing.assert_close(splits.test[0][0], (raw.test[0][0] - mean) / std)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size: expected at least 1"),
        ({"augment": "flip"}, "augment: expected train, none or a callable, found 'flip'"),
        ({"augment": "train", "min_area": 0.0}, "min_area: expected above 0"),
        ({"mean": (0.5,)}, "mean and std with 3 numbers"),
        ({"crop": 0}, "crop: expected above 0"),
    ],
)
def test_options_out_of_range_are_refused(image_folder, options, message):
    with pytest.raises(InputError, match=message):
        load(image_folder(CLASSES), **options)


def test_training_views_are_the_same_with_any_workers_order_or_batch_size(
    image_folder, torchvision
):
    def views(view, epoch, batch_size, workers):
        splits.train.set_view(view)
        batches = loader(splits.train, batch_size, seed=0, epoch=epoch, workers=workers)
        return {
            key: image
            for batch in batches
            for key, image in zip(batch.ids.tolist(), batch.inputs, strict=True)
        }

    splits = load(image_folder(CLASSES), augment="train", seed=3)
    expected = views(view=1, epoch=0, batch_size=4, workers=0)
    for found in (views(1, 5, 4, 0), views(1, 0, 3, 0), views(1, 0, 4, 2)):
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    other = views(view=2, epoch=0, batch_size=4, workers=0)
    assert not any(torch.equal(other[key], expected[key]) for key in expected)
    assert splits.validation.transform is splits.test.transform is None


def test_without_torchvision_training_views_name_the_extra(image_folder, monkeypatch):
    root = image_folder(CLASSES)
    monkeypatch.setitem(sys.modules, "torchvision.transforms.v2", None)
    with pytest.raises(MissingPackageError, match=r'pip install "tutelage\[vision\]"') as caught:
        load(root, augment="train")
    assert caught.value.exit_code == 2
    assert load(root, augment="none").train[0][0].shape == (3, 8, 8)
