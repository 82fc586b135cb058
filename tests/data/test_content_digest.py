"""What a data set says of its content (case 5 of the fault plan: other data)."""

import torch

from tutelage.data import load_image_folder


def test_tensor_images_are_known_by_pixels_in_the_order_of_ids(make_images) -> None:
    data = make_images(20)
    before = data.content_digest()
    shuffled = data.subset(torch.randperm(20))
    assert shuffled.content_digest() == before
    assert data.subset(range(19)).content_digest() != before
    data._images[19, 0, 5, 5] += 1
    assert data.content_digest() != before


def test_labels_normalisation_and_augmentation_are_no_content(make_images) -> None:
    plain = make_images(20)
    other = make_images(20, classes=5, pixel_max=100.0, transform=torch.flipud, seed=3)
    assert plain.content_digest() == other.content_digest()
    assert plain.preparation() != other.preparation()


def test_crop_counts_only_where_no_augmentation_stands_in_its_place(image_folder) -> None:
    root = image_folder({"cat": 4, "dog": 4})
    for augment, expected in (("none", {"crop": 0.5, "resize": "bilinear"}), (lambda x: x, {})):
        splits = load_image_folder(
            root=root, size=8, crop=0.5, validation=2, test=2, augment=augment
        )
        assert splits.train.preparation() == expected


def test_case_5_image_file_of_the_same_name_and_size_with_other_bytes(image_folder, pillow) -> None:
    root = image_folder({"cat": 6, "dog": 6})

    def load():
        return load_image_folder(root=root, size=8, validation=2, test=2, augment="none").train

    data = load()
    before = data.content_digest()
    assert data.content_digest() == load().content_digest() == before
    path = data.paths[3]
    with open(path, "r+b") as file:
        file.seek(-20, 2)
        byte = file.read(1)
        file.seek(-20, 2)
        file.write(bytes([byte[0] ^ 1]))
    assert load().content_digest() != before


def test_a_moved_image_folder_is_the_same_data(image_folder, tmp_path) -> None:
    def digest_at(root) -> str:
        splits = load_image_folder(root=root, size=8, validation=2, test=2, augment="none")
        return splits.train.content_digest()

    root = image_folder({"cat": 6, "dog": 6})
    before = digest_at(root)
    assert digest_at(root.rename(tmp_path / "moved")) == before
