"""A live teacher that fills a cache as it is asked: each row once."""

import itertools
import os

import pytest
import torch
from caches import CLASSES, IDENTITY, IDS, SAMPLES, TAPS, VIEWS, fill, images, layout, net
from torch import nn

import tutelage as tl
from tutelage.cache import Reader, verify
from tutelage.errors import (
    DataError,
    InputError,
    NumericalError,
    ResourceError,
    ShapeError,
    TapError,
)
from tutelage.teachers import Teacher, store, tell_view


def writing(path, model=None, **options):
    live = tl.FrozenTeacher(net() if model is None else model)
    given = {"ids": IDS, "identity": IDENTITY, "views": VIEWS, **options}
    return tl.WritingTeacher(live, path, **given)


def show(teacher, *views, seed=0, size=8):
    """Ask about all images of some views in a shuffled order, and return the signals of each."""
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(seed))
    for view in views:
        tell_view(teacher, view)
        for places in order.split(size):
            yield places, teacher(images(view)[places], IDS[places])


def test_it_is_a_teacher(tmp_path):
    assert isinstance(writing(tmp_path / "cache"), Teacher)


def test_each_row_is_asked_for_once_and_the_last_one_finishes_the_cache(tmp_path):
    path = tmp_path / "cache"
    teacher = writing(path)
    views = (0, 1, 0, 2, 1, 0)
    for epoch, view in enumerate(views):
        list(show(teacher, view, seed=epoch))
        assert teacher.misses == SAMPLES * len(set(views[: epoch + 1]))
    assert teacher.misses == VIEWS * SAMPLES
    assert teacher.live.model.calls == VIEWS * SAMPLES // 8
    assert (path / "manifest.json").exists()
    teacher.close()
    report = verify(path)
    assert (report.finished, report.bad, report.faults) == (True, 0, ())
    again = tl.CachedTeacher(path, expect=IDENTITY)
    live = tl.FrozenTeacher(net())
    for places, found in show(again, *range(VIEWS), seed=1):
        expected = live(images(again.view)[places]).logits
        torch.testing.assert_close(found.logits, expected, rtol=1e-5, atol=1e-5)


def test_its_bytes_do_not_depend_on_the_order_of_epochs(tmp_path):
    paths = tmp_path / "a", tmp_path / "b"
    for path, views in zip(paths, ((0, 1, 2), (2, 0, 1)), strict=True):
        with writing(path) as teacher:
            list(show(teacher, *views, size=SAMPLES))
    for file in sorted(os.listdir(paths[0])):
        if file != ".lock":
            assert (paths[0] / file).read_bytes() == (paths[1] / file).read_bytes(), file


@pytest.mark.parametrize("options", [{"dtype": "fp16"}, {"top_k": 3, "num_classes": CLASSES}])
def test_what_it_hands_out_is_what_was_kept_from_the_first_epoch_on(tmp_path, options):
    with writing(tmp_path / "cache", **options) as teacher:
        teacher.provide(["body"])
        epochs = [list(show(teacher, 0)) for _ in range(2)]
    for (_, first), (_, second) in zip(*epochs, strict=True):
        assert torch.equal(first.taps["body"], second.taps["body"])
        if "top_k" in options:
            first, second = (x.logits.log_probs for x in (first, second))
        else:
            first, second = first.logits, second.logits
        assert torch.equal(first, second)


def test_an_interrupted_training_goes_on_where_it_was(tmp_path):
    path = tmp_path / "cache"
    teacher = writing(path)
    list(itertools.islice(show(teacher, 0), 2))
    with pytest.raises(InputError, match="found one that is being built"):
        tl.CachedTeacher(path)
    teacher.close()
    again = writing(path)
    list(show(again, *range(VIEWS)))
    assert again.misses == VIEWS * SAMPLES - 16
    again.close()
    assert tl.CachedTeacher(path).layout.views == VIEWS


def test_a_distiller_trains_with_it_and_tries_its_pieces_without_keeping_anything(tmp_path):
    teacher = writing(tmp_path / "cache", top_k=3, num_classes=CLASSES, temperatures=(4.0,))
    terms = [
        tl.Term(tl.KDLoss()),
        tl.Term(tl.HintLoss(), at=("body", "body"), via="auto"),
    ]
    distiller = tl.Distiller(net(3), teacher, terms, example=images(0)[:2])
    assert not (tmp_path / "cache").exists()
    for view in (0, 1):
        tell_view(distiller.teacher, view)
        step = distiller(images(view), ids=IDS)
        step.loss.backward()
        assert step.loss.isfinite()
    assert Reader(tmp_path / "cache", partial=True).layout.taps == (TAPS[0],)
    with pytest.raises(TapError, match="'norm' in it, found body"):
        tl.Distiller(net(3), teacher, [tl.Term(tl.ATLoss(), at="norm")])
    distiller.close()
    with pytest.raises(InputError, match=r"DKDLoss: needs every class.* 3 of 6"):
        tl.Distiller(net(3), teacher, [tl.Term(tl.DKDLoss())])


def test_rows_are_the_same_under_autocast(tmp_path):
    found = []
    for name, enabled in (("a", True), ("b", False)):
        with writing(tmp_path / name) as teacher, torch.autocast("cpu", enabled=enabled):
            found.append(teacher(images(0), IDS).logits)
    assert torch.equal(*found)


def test_other_images_than_were_kept_are_refused(tmp_path):
    with writing(tmp_path / "cache") as teacher:
        list(show(teacher, 0, 1))
        tell_view(teacher, 0)
        with pytest.raises(DataError, match="they are those of view 1"):
            teacher(images(1), IDS)


def test_a_cache_of_something_else_is_refused_and_left_alone(tmp_path):
    path = fill(tmp_path / "cache", layout(taps=()))
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(DataError, match=r"identity.teacher +cd +\{"):
        writing(path, identity={**IDENTITY, "teacher": "cd"})(images(0), IDS)
    with pytest.raises(DataError, match=r"layout.dtype +fp16 +fp32"):
        writing(path, dtype="fp16")(images(0), IDS)
    assert before == {file.name: file.read_bytes() for file in path.iterdir()}


def test_a_finished_cache_is_only_read(tmp_path):
    path = fill(tmp_path / "cache", layout(taps=()))
    with writing(path) as teacher:
        list(show(teacher, *range(VIEWS)))
        assert teacher.misses == 0


def test_a_full_disk_stops_it_before_anything_is_trained(tmp_path, monkeypatch):
    def full(handle, start, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    teacher = writing(tmp_path / "cache")
    with pytest.raises(ResourceError, match=r"bytes of room, found .* free") as caught:
        teacher(images(0), IDS)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "cache").exists()


def test_it_can_go_on_live_without_a_disk(tmp_path, monkeypatch):
    def full(handle, start, size):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    teacher = writing(tmp_path / "cache", on_error="live", top_k=3, num_classes=CLASSES)
    with pytest.warns(
        UserWarning, match=r"goes on with the live teacher and keeps nothing: .*free"
    ):
        found = teacher(images(0), IDS).logits
    dense = tl.FrozenTeacher(net())(images(0)).logits
    assert torch.equal(found.ids, dense.topk(3).indices)
    assert teacher(images(0), IDS).logits.k == 3


def test_a_disk_that_fails_at_the_end_loses_no_row(tmp_path, monkeypatch):
    teacher = writing(tmp_path / "cache")
    teacher(images(0), IDS)

    def failing(path):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("tutelage.cache.disk.sync_file", failing)
        with pytest.raises(ResourceError, match="Input/output error"):
            teacher.close()
    again = writing(tmp_path / "cache")
    again(images(0), IDS)
    assert again.misses == 0


def test_a_second_one_is_told_that_another_is_at_work(tmp_path):
    first = writing(tmp_path / "cache")
    first(images(0), IDS)
    with pytest.raises(ResourceError, match="expected nobody else to build it"):
        writing(tmp_path / "cache")(images(0), IDS)
    first.close()
    writing(tmp_path / "cache")(images(0), IDS)


def test_a_folder_that_cannot_be_written_is_told_when_it_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(store.os, "access", lambda folder, mode: False)
    with pytest.raises(ResourceError, match=r"expected a folder that can be written.*your own"):
        writing(tmp_path / "deep" / "cache")
    with pytest.warns(UserWarning, match="goes on with the live teacher"):
        writing(tmp_path / "cache", on_error="live")


def test_answers_that_are_not_finite_are_refused_by_sample(tmp_path):
    model = net()
    teacher = writing(tmp_path / "cache", model)
    teacher(images(0)[:8], IDS[:8])
    shown = images(0)
    shown[20] = torch.nan
    with pytest.raises(NumericalError, match=r"NaN or inf for samples 143"):
        teacher(shown, IDS)


def test_what_does_not_fit_is_refused(tmp_path):
    path = tmp_path / "cache"
    with pytest.raises(InputError, match=r"WritingTeacher.top_k: expected num_classes with it"):
        writing(path, top_k=3)
    with pytest.raises(InputError, match="expected one of stop, live, found 'wait'"):
        writing(path, on_error="wait")
    with pytest.raises(InputError, match="one of fp32, fp16, bf16"):
        writing(path, dtype="fp8")
    with pytest.raises(InputError, match="view from 0 to 2, found 3; train with views: 3"):
        writing(path).set_view(3)
    with pytest.raises(ShapeError, match="expected a teacher of 9 classes, found 6; correct"):
        writing(path, num_classes=9)(images(0), IDS)
    with pytest.raises(InputError, match="found id 1; build it with the ids of the whole data"):
        writing(path)(images(0)[:1], torch.tensor([1]))
    dense = nn.Conv2d(1, 4, 3)
    with pytest.raises(ShapeError, match=r"live teacher with logits \[B, C\]"):
        writing(tmp_path / "other", dense)(images(0), IDS)
