"""Other images than the teacher was asked about, each noticed at the step where it happens."""

import pickle

import pytest
import torch
from caches import IDS, SAMPLES, fill, images, layout

import tutelage as tl
from tutelage.errors import DataError
from tutelage.teachers import pixels


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("cache") / "cache", layout(taps=()))


def refused(path, shown, ids=IDS, *, view=0):
    teacher = tl.CachedTeacher(path)
    teacher.set_view(view)
    with pytest.raises(DataError) as caught:
        teacher(shown, ids)
    assert caught.value.exit_code == 3
    return str(caught.value)


def test_another_view_is_named(path):
    message = refused(path, images(2), view=0)
    assert "of 24 images of a batch in view 0" in message
    assert "they are those of view 2: name the view of each batch by set_view" in message


@pytest.mark.parametrize(
    "change",
    [
        lambda x: (x - 0.1) / 0.9,
        lambda x: 0.7 * x + 0.3 * x.roll(1, 0),
        lambda x: x.flip(-1),
        lambda x: x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(4)),
        lambda x: torch.nn.functional.interpolate(x, size=(8, 8)),
    ],
    ids=["normalisation", "mixup", "flip", "fresh augmentation", "size"],
)
def test_another_way_of_showing_them_is_refused(path, change):
    message = refused(path, change(images(0)))
    assert "as most of the batch differs" in message
    assert "or train with the live teacher" in message


def test_images_that_changed_are_named(path):
    shown = images(0)
    shown[[4, 9]] += torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    message = refused(path, shown)
    assert "in 2 of 24 images of a batch in view 0, samples 31, 66; the others agree" in message
    assert "build the cache anew from this data" in message


def test_ids_of_other_images_are_refused(path):
    assert "found others in" in refused(path, images(0), IDS.roll(1))


def test_images_as_they_were_pass_whatever_their_order_layout_and_type(path):
    teacher = tl.CachedTeacher(path)
    shown = images(1)
    teacher.set_view(1)
    order = torch.randperm(SAMPLES)
    teacher(shown[order], IDS[order])
    teacher(shown.to(memory_format=torch.channels_last), IDS)
    teacher(shown.double(), IDS)
    teacher({"x": shown}, IDS)


def test_half_precision_and_rounding_noise_pass(path):
    teacher = tl.CachedTeacher(path)
    teacher(images(0).half().float(), IDS)
    teacher(images(0) * (1 + 1e-6), IDS)


def test_the_comparison_can_be_left_out(path):
    teacher = tl.CachedTeacher(path, check_pixels=False)
    assert teacher(images(2), IDS).logits.isfinite().all()


def test_rows_that_are_missing_are_not_compared(tmp_path):
    plan = layout(taps=())
    holes = fill(tmp_path / "cache", plan, rows=slice(0, 16))
    live = tl.CallableTeacher(lambda x: torch.zeros(len(x), 6))
    teacher = tl.CachedTeacher(holes, on_miss=live, partial=True)
    shown = images(0)
    shown[16:] += 1
    teacher(shown, IDS)
    assert teacher.misses == 8
    shown[:16] += 1
    with pytest.raises(DataError, match="pixels that its teacher was asked about"):
        teacher(shown, IDS)


def test_on_a_device_it_is_looked_at_later_and_when_closing(path, monkeypatch):
    # The CPU plays a device.
    monkeypatch.setattr(pixels, "_is_at_hand", lambda tensor: False)
    teacher = tl.CachedTeacher(path)
    teacher.provide([])
    for _ in range(63):
        teacher(images(1), IDS)
    with pytest.raises(DataError, match="they are those of view 1"):
        teacher(images(1), IDS)
    teacher(images(1), IDS)
    with pytest.raises(DataError, match="they are those of view 1"):
        teacher.close()
    teacher.provide([])
    teacher(images(1), IDS)
    with pytest.raises(DataError, match="they are those of view 1"):
        teacher.set_view(2)
    pickle.loads(pickle.dumps(teacher))


def test_rows_fetched_for_other_samples_are_noticed(path):
    # On a device the rows are fetched by ids in the CPU's memory, before the batch is there.
    teacher = tl.CachedTeacher(path)
    teacher._place = torch.empty(0, device="meta")  # plays a device: what is fetched is not read
    teacher.prepare(IDS[:8])
    assert teacher._ready is not None
    rows = tl.CachedTeacher(path)._read(IDS[:8], torch.device("cpu"))
    for ids, is_refused in ((IDS[:8], False), (IDS[8:16], True)):
        teacher._ready = IDS[:8], rows
        shown = images(0)[:8]
        if is_refused:
            with pytest.raises(DataError, match="found others in 8 of 8 images"):
                teacher(shown, ids)
        else:
            assert torch.equal(teacher(shown, ids).logits, rows.signals.logits)
    unwatched = tl.CachedTeacher(path, check_pixels=False)
    unwatched._place = torch.empty(0, device="meta")
    unwatched.prepare(IDS[:8])
    assert unwatched._ready is None
