import os

import pytest

from tutelage.data.folders import list_images
from tutelage.errors import DataError, InputError


@pytest.fixture
def touch(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        return tmp_path

    return make


def test_images_are_sorted_by_class_and_path_at_any_depth(touch):
    root = touch("b/2.png", "b/deep/1.JPG", "a/9.jpeg", "a/10.bmp")
    listing = list_images(root)
    assert listing.classes == ("a", "b")
    assert [os.path.relpath(path, root) for path in listing.paths] == [
        "a/10.bmp",
        "a/9.jpeg",
        "b/2.png",
        "b/deep/1.JPG",
    ]
    assert listing.labels == (0, 0, 1, 1)


def test_hidden_and_other_files_are_skipped(touch):
    root = touch("a/1.png", "a/.2.png", "a/.cache/3.png", "a/notes.txt", ".git/4.png", "readme.md")
    listing = list_images(root)
    assert listing.classes == ("a",)
    assert [os.path.basename(path) for path in listing.paths] == ["1.png"]


WEIRD = ["a b", "<script>alert(1)</script>".replace("/", "_"), "שלום", "line\nbreak", "'\"%s{}"]


def test_class_and_file_names_of_any_characters_are_kept(touch):
    listing = list_images(touch(*(f"{name}/{name}.png" for name in WEIRD)))
    assert listing.classes == tuple(sorted(WEIRD))
    assert all(os.path.exists(path) for path in listing.paths)


def test_names_that_are_no_text_are_kept(touch):
    root = touch("a/1.png")
    folder = os.fsencode(root) + b"/\xff\xfe"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes no names outside UTF-8")
    open(folder + b"/\xff.png", "wb").close()
    listing = list_images(root)
    assert len(listing.classes) == 2
    assert os.fsencode(listing.paths[1]).endswith(b"/\xff\xfe/\xff.png")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"'.*absent': expected a folder.*No such file") as caught:
        list_images(tmp_path / "absent")
    assert caught.value.exit_code == 2


def test_a_file_is_no_folder(touch):
    with pytest.raises(InputError, match="Not a directory"):
        list_images(touch("a.png") / "a.png")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"one folder per class.*found an empty folder"):
        list_images(tmp_path)


def test_images_without_class_folders_are_refused_with_what_was_found(touch):
    root = touch(*(f"{number}.png" for number in range(7)))
    with pytest.raises(InputError, match=r"found 7 files and no folder \('0\.png'.*\.\.\.\)"):
        list_images(root)


def test_class_folders_without_images_are_named(touch):
    root = touch("a/1.png", "b/notes.txt", "c/2.png")
    (root / "d").mkdir()
    with pytest.raises(InputError, match="found none in 'b', 'd'"):
        list_images(root)


def test_a_link_that_leads_back_brings_no_image_twice(touch):
    root = touch("a/1.png", "a/deep/2.png", "b/3.png")
    (root / "a" / "deep" / "back").symlink_to(root / "a", target_is_directory=True)
    (root / "a" / "abroad").symlink_to(root / "a" / "deep", target_is_directory=True)
    (root / "b" / "self").symlink_to("self")
    listing = list_images(root)
    assert [os.path.relpath(path, root) for path in listing.paths] == [
        "a/1.png",
        "a/deep/2.png",
        "b/3.png",
    ]


def test_links_to_a_store_are_images_like_others(touch, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    root = touch("a/1.png", "b/2.png")
    (store / "x.png").write_bytes(b"")
    (root / "a" / "x.png").symlink_to(store / "x.png")
    assert list_images(root).labels == (0, 0, 1)


@pytest.mark.parametrize(
    ("link", "target"), [("c", "a"), ("b/2.png", "a/1.png"), ("a/2.png", "a/1.png"), ("b/up", ".")]
)
def test_one_file_under_two_names_is_refused(touch, link, target):
    root = touch("a/1.png", "b/1.png")
    (root / link).symlink_to(root / target)
    with pytest.raises(DataError, match=r"found that '.*' and '.*' are one file; remove") as caught:
        list_images(root)
    assert caught.value.exit_code == 3
