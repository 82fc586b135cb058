"""A teacher that reads its answers: equal to the live one, and wrong about nothing."""

import copy
import pickle
import random
import shutil
from pathlib import Path

import pytest
import torch
from caches import CLASSES, IDENTITY, IDS, SAMPLES, VIEWS, fill, images, layout, net
from torch import nn

import tutelage as tl
from tutelage.errors import DataError, InputError, ShapeError, TapError, TeacherError
from tutelage.signals import SparseLogits
from tutelage.teachers import Teacher


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("dense") / "cache", layout())


@pytest.fixture(scope="module")
def top(tmp_path_factory):
    plan = layout(top_k=3, temperatures=(4.0,), taps=(), dtype="fp16")
    return fill(tmp_path_factory.mktemp("top") / "cache", plan)


def terms():
    return [
        tl.Term(tl.KDLoss(temperature=4.0), 1.0),
        tl.Term(tl.HintLoss(), 0.5, at=("body", "body"), via=tl.ConvProjector(3, 4)),
        tl.Term(tl.ATLoss(), 10.0, at="body"),
        tl.Term(tl.CELoss(), 0.1),
    ]


def losses(teacher, order, *, steps=VIEWS):
    """Train a student and return each step's loss; batches of eight in the given order."""
    student = net(width=3, seed=5)
    torch.manual_seed(2)
    distiller = tl.Distiller(student, teacher, terms())
    optimiser = torch.optim.SGD(distiller.parameters(), lr=0.05)
    values = []
    for view in range(steps):
        if hasattr(teacher, "set_view"):
            teacher.set_view(view)
        for places in order.split(8):
            some = images(view)[places]
            step = distiller(some, places % CLASSES, IDS[places])
            optimiser.zero_grad()
            step.loss.backward()
            optimiser.step()
            values.append(step.loss.item())
    distiller.close()
    return values


def test_it_is_a_teacher(dense):
    assert isinstance(tl.CachedTeacher(dense), Teacher)


def test_the_losses_of_a_training_are_bit_equal_to_the_live_teachers(dense):
    order = torch.arange(SAMPLES)
    assert losses(tl.CachedTeacher(dense), order) == losses(tl.FrozenTeacher(net()), order)


def test_a_shuffled_loader_of_other_batches_gives_the_same_rows(dense):
    teacher = tl.CachedTeacher(dense)
    teacher.provide(["body"])
    whole = teacher(images(0), IDS)
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(3))
    for places in order.split(5):
        some = teacher(images(0)[places], IDS[places])
        assert torch.equal(some.logits, whole.logits[places])
        assert torch.equal(some.taps["body"], whole.taps["body"][places])
    live = losses(tl.FrozenTeacher(net()), order)
    assert losses(tl.CachedTeacher(dense), order) == pytest.approx(live, rel=1e-5)


@pytest.mark.parametrize(("dtype", "bound"), [("fp16", 2**-11), ("bf16", 2**-8)])
def test_half_precision_is_off_by_half_a_unit_in_the_last_place(tmp_path, dtype, bound):
    teacher = tl.CachedTeacher(fill(tmp_path / "cache", layout(dtype=dtype)))
    live = tl.FrozenTeacher(net())
    for one in (teacher, live):
        one.provide(["body"])
    found, expected = teacher(images(0), IDS), live(images(0))
    for mine, other in (
        (found.logits, expected.logits),
        (found.taps["body"], expected.taps["body"]),
    ):
        assert mine.dtype == torch.float32
        assert ((mine - other).abs() <= bound * other.abs() + 2**-25).all()
        assert not torch.equal(mine, other)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_likeliest_classes_are_exact_within_their_rounding_at_each_temperature(
    top, temperature
):
    found = tl.CachedTeacher(top)(images(0), IDS).logits
    log_p = (tl.FrozenTeacher(net())(images(0)).logits / temperature).log_softmax(-1)
    kept, rest = found.softened(temperature)
    outside = torch.ones_like(log_p).scatter(-1, found.ids, 0.0)
    expected = log_p.gather(-1, found.ids)
    assert ((kept - expected).abs() <= 2**-10 * (1 + temperature * expected.abs())).all()
    torch.testing.assert_close(rest.exp(), (log_p.exp() * outside).sum(-1), rtol=0, atol=4e-3)


def test_kd_from_the_likeliest_classes_is_a_little_below_the_dense_value(top):
    some = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))
    values = [
        tl.Distiller(some, teacher, [tl.Term(tl.KDLoss())])(images(0), ids=IDS).loss.item()
        for teacher in (tl.CachedTeacher(top), tl.FrozenTeacher(net()))
    ]
    assert 0.5 * values[1] < values[0] < values[1] + 1e-3


def test_no_forward_of_the_teacher_runs(dense):
    live = net()
    teacher = tl.CachedTeacher(dense, on_miss=tl.FrozenTeacher(live))
    distiller = tl.Distiller(net(3), teacher, [tl.Term(tl.KDLoss())])
    before = live.calls
    for places in torch.arange(SAMPLES).split(8):
        distiller(images(0)[places], ids=IDS[places])
    assert live.calls == before
    assert teacher.misses == 0


def test_taps_are_promised_by_name_and_pooled_from_maps(dense):
    teacher, live = tl.CachedTeacher(dense), tl.FrozenTeacher(net())
    for one in (teacher, live):
        one.provide(["body:pooled", "pool"])
    found, expected = teacher(images(0)[:8], IDS[:8]).taps, live(images(0)[:8]).taps
    assert list(found) == ["body:pooled", "pool"]
    assert all(torch.equal(found[name], expected[name]) for name in found)
    with pytest.raises(TapError, match=r"tap 'norm' in it, found body, pool .*--taps norm"):
        teacher.provide(["norm"])
    with pytest.raises(TapError, match=r"tap 'boby' in it, found .*did you mean 'body'"):
        tl.Distiller(net(3), teacher, [tl.Term(tl.ATLoss(), at=("body", "boby"))])


def test_a_cache_of_taps_alone_has_no_logits(tmp_path):
    teacher = tl.CachedTeacher(fill(tmp_path / "cache", layout(num_classes=None)))
    at = tl.Term(tl.ATLoss(), at="body")
    assert tl.Distiller(net(3), teacher, [at])(images(0), ids=IDS).loss > 0
    with pytest.raises(
        TeacherError, match=r"terms \['kd'\] read the teacher's logits.*holds taps only"
    ):
        tl.Distiller(net(3), teacher, [at, tl.Term(tl.KDLoss())])


def test_what_needs_every_class_is_refused_when_the_distiller_is_built(top):
    for policy in ("tail", "renormalise", "ignore"):
        teacher = tl.CachedTeacher(top, outside=policy)
        assert teacher(images(0), IDS).logits.policy == policy
        with pytest.raises(InputError, match=r"'dkd': DKDLoss: needs every class.* 3 of 6"):
            tl.Distiller(net(3), teacher, [tl.Term(tl.DKDLoss())])
    with pytest.raises(InputError, match=r"temperature 2, found totals at 1, 4 only"):
        tl.Distiller(net(3), tl.CachedTeacher(top), [tl.Term(tl.KDLoss(temperature=2.0))])
    with pytest.raises(TeacherError, match=r"member '0', found the top 3 of 6"):
        tl.EnsembleTeacher([tl.CachedTeacher(top)])


def test_an_ensemble_and_a_shuffle_tell_it_the_view(dense):
    inner = tl.CachedTeacher(dense)
    for teacher in (tl.EnsembleTeacher([inner]), tl.ShuffledTeacher(inner, seed=0)):
        teacher.set_view(2)
        assert inner.view == 2
        assert teacher(images(2), IDS).logits.shape == (SAMPLES, CLASSES)


def test_samples_without_ids_or_with_too_few_are_refused(dense):
    teacher = tl.CachedTeacher(dense)
    distiller = tl.Distiller(net(3), teacher, [tl.Term(tl.KDLoss())])
    with pytest.raises(InputError, match=r"expected the samples' ids \[B\], found None; pass ids"):
        distiller(images(0))
    with pytest.raises(ShapeError, match=r"inputs \[24, 1, 6, 6\] and ids \[4\]; give the ids of"):
        teacher(images(0), IDS[:4])
    with pytest.raises(DataError, match=r"no row for ids 1, 2;") as caught:
        teacher(images(0)[:3], torch.tensor([3, 1, 2]))
    assert caught.value.exit_code == 3


def test_a_view_that_is_not_there_is_refused(dense):
    teacher = tl.CachedTeacher(dense)
    for view in (-1, VIEWS):
        with pytest.raises(InputError, match=rf"view from 0 to 2, found {view}; train with views"):
            teacher.set_view(view)


@pytest.fixture
def holes(tmp_path):
    """A cache in which the last eight samples are missing in every view."""
    plan = layout(taps=())
    return fill(tmp_path / "cache", plan, rows=slice(0, 16))


def test_missing_rows_are_asked_of_the_live_teacher_alone(holes):
    live = tl.FrozenTeacher(net())
    teacher = tl.CachedTeacher(holes, on_miss=live, partial=True)
    asked = []
    live.model.register_forward_pre_hook(lambda module, args: asked.append(len(args[0])))
    places = torch.tensor([1, 20, 3, 17, 23])
    teacher.set_view(1)
    found = teacher(images(1)[places], IDS[places]).logits
    assert asked == [3]
    assert teacher.misses == 3
    torch.testing.assert_close(found, live(images(1)[places]).logits)
    teacher(images(1)[:4], IDS[:4])
    stranger = teacher(images(1)[:1], torch.tensor([1]))  # no such sample at all
    assert teacher.misses == 4
    assert torch.equal(stranger.logits, live(images(1)[:1]).logits)


def test_missing_rows_of_a_top_k_cache_have_all_that_rows_have(tmp_path):
    plan = layout(top_k=3, temperatures=(4.0,), dtype="fp32")
    path = fill(tmp_path / "cache", plan, rows=slice(0, 16))
    live = tl.FrozenTeacher(net())
    teacher = tl.CachedTeacher(path, on_miss=live, partial=True)
    teacher.provide(["body"])
    found = teacher(images(0), IDS)
    dense = live(images(0))
    expected = SparseLogits.from_logits(dense.logits, k=3, temperatures=(4.0,))
    assert torch.equal(found.logits.ids, expected.ids)
    for temperature in (1.0, 4.0):
        for mine, other in zip(
            found.logits.softened(temperature), expected.softened(temperature), strict=True
        ):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.taps["body"], dense.taps["body"])


def test_missing_rows_are_an_error_and_never_zeros(holes):
    teacher = tl.CachedTeacher(holes, partial=True)
    with pytest.raises(DataError, match=r"found none yet for samples 143 \(view 0\)"):
        teacher(images(0)[[1, 20]], IDS[[1, 20]])
    with pytest.raises(
        InputError, match=r"expected a finished cache, found one that is being built"
    ):
        tl.CachedTeacher(holes)


def test_a_stand_in_that_does_not_fit_is_refused(holes):
    other = tl.FrozenTeacher(nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES + 1)))
    teacher = tl.CachedTeacher(holes, on_miss=other, partial=True)
    with pytest.raises(TeacherError, match=r"logits \[6\] for each sample .*found \[7\]; give the"):
        teacher(images(0)[16:], IDS[16:])
    with pytest.raises(TeacherError, match=r"on_miss: expected 'error' or a teacher, found Linear"):
        tl.CachedTeacher(holes, on_miss=nn.Linear(1, 1), partial=True)
    with pytest.raises(InputError, match=r"on_miss .*expected one of error, found 'zeros'"):
        tl.CachedTeacher(holes, on_miss="zeros", partial=True)


def test_what_it_says_of_itself_is_compared_side_by_side(dense):
    tl.CachedTeacher(dense, expect=IDENTITY)
    tl.CachedTeacher(dense, expect={"preprocessing": {"mean": (0.5,)}})
    other = {"teacher": {"sha256": "cd34", "arch": "net"}}
    with pytest.raises(DataError, match=r"teacher.sha256 +cd34 +ab12") as caught:
        tl.CachedTeacher(dense, expect=other)
    assert caught.value.exit_code == 3
    with pytest.warns(UserWarning, match=r"cache of something else.*\n.*\n.*cd34 +ab12"):
        teacher = tl.CachedTeacher(dense, expect=other, allow_stale=True)
    assert teacher.stale == [("teacher.sha256", "cd34", "ab12")]
    assert tl.CachedTeacher(dense, expect=IDENTITY).stale == []


def test_it_is_never_copied_and_opens_its_files_again_when_unpickled(dense):
    teacher = tl.CachedTeacher(dense)
    teacher.provide(["body"])
    distiller = tl.Distiller(net(3), teacher, [tl.Term(tl.KDLoss())])
    assert copy.deepcopy(distiller).teacher is teacher
    assert not any("teacher" in name for name in distiller.state_dict())
    again = pickle.loads(pickle.dumps(teacher))
    again.set_view(1)
    teacher.set_view(1)
    assert torch.equal(again(images(1), IDS).logits, teacher(images(1), IDS).logits)
    assert list(again(images(1), IDS).taps) == ["body"]


def test_it_closes_with_its_last_user_and_opens_again(dense):
    teacher = tl.CachedTeacher(dense)
    first = tl.Distiller(net(3), teacher, [tl.Term(tl.KDLoss())])
    with tl.Distiller(net(3), teacher, [tl.Term(tl.KDLoss())]):
        pass
    assert first(images(0), ids=IDS).loss.isfinite()
    first.close()
    with pytest.raises(TeacherError, match=r"closed; provide\(\[\]\) opens it again"):
        teacher(images(0), IDS)
    teacher.provide([])
    assert teacher(images(0), IDS).logits.shape == (SAMPLES, CLASSES)


def test_casting_the_distiller_leaves_what_was_cached(dense):
    distiller = tl.Distiller(net(3), tl.CachedTeacher(dense), [tl.Term(tl.KDLoss())]).double()
    step = distiller(images(0).double(), ids=IDS)
    assert distiller.teacher(images(0), IDS).logits.dtype == torch.float32
    assert step.loss.isfinite()


def test_a_compiled_distiller_reads_it_too(dense):
    distiller = tl.Distiller(net(3), tl.CachedTeacher(dense), [tl.Term(tl.KDLoss())])
    compiled = torch.compile(distiller, backend="eager")
    assert compiled(images(0), ids=IDS).loss == distiller(images(0), ids=IDS).loss


def test_flipped_bits_are_found_when_their_row_is_read(dense, tmp_path):
    copied = Path(shutil.copytree(dense, tmp_path / "copy"))
    shard = sorted(copied.glob("shard-*.safetensors"))[0]
    content = bytearray(shard.read_bytes())
    place = len(content) // 2 + random.Random(0).randrange(200)
    content[place] ^= 4
    shard.write_bytes(bytes(content))
    teacher = tl.CachedTeacher(copied)

    def read_all():
        for view in range(VIEWS):
            teacher.set_view(view)
            teacher(images(view), IDS)

    with pytest.raises(DataError, match=r"1 of 24 damaged.*tutelage cache repair"):
        read_all()
