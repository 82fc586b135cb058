"""Case 6 of the fault plan: whatever the loader does, a cached teacher says what the live one did.

The haitongli implementation kept answers by the order of the batches and shuffled them: labels and
answers then belonged to different images. Here answers belong to a sample and a view.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import tutelage as tl
from tutelage.data import DataSpec, ShiftFlip, Splits, TensorImages, make_splits
from tutelage.errors import DataError, InputError, RecipeError
from tutelage.runs import RunFolder
from tutelage.training import TrainingSettings, fit
from tutelage.training.identity import identity_of
from tutelage.training.labelling import label

VIEWS, SEED = 3, 11
SETTINGS = TrainingSettings(
    epochs=5, batch_size=8, device="cpu", views=VIEWS, view_seed=SEED, log_every=1
)


class RowByRow(nn.Module):
    """A teacher whose answer to an image does not depend, in any bit, on the batch around it."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(3, 36, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([(one.flatten() * self.weight).sum(1) for one in x])


class Student(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def splits() -> Splits:
    spec = DataSpec("noise", 3, ("a", "b", "c"), 1, (6, 6), (0.5,), (0.25,))
    pixels = torch.randint(0, 256, (90, 1, 6, 6), generator=torch.Generator().manual_seed(2))
    data = TensorImages(
        pixels.to(torch.uint8), torch.arange(90) % 3, spec, transform=ShiftFlip(1), ids=3
        * torch.arange(90)
    )  # fmt: skip
    return make_splits(data.subset(range(60)), data.subset(range(60, 90)), validation=15)


@pytest.fixture
def kept(splits, tmp_path):
    teacher = tl.FrozenTeacher(RowByRow())
    return label(
        teacher, splits.train, tmp_path / "kept", views=VIEWS, view_seed=SEED, batch_size=32
    ).path


def curve(teacher, splits, settings, folder, *, seed=0) -> list[float]:
    run = RunFolder.create(folder, "run")
    with tl.Distiller(Student(), teacher, [tl.KDLoss(temperature=3.0), tl.CELoss()]) as distiller:
        fit(distiller, splits, settings, seed=seed, run=run)
    return [line["loss"] for line in run.read_log() if line["kind"] == "step"]


@pytest.mark.parametrize(
    ("changes", "seed"),
    [({}, 0), ({}, 5), ({"batch_size": 13}, 0), ({"accumulate": 2}, 0), ({"workers": 2}, 1)],
    ids=["as built", "reshuffled", "other batch size", "in pieces", "by workers"],
)
def test_case_6_every_loss_is_bit_equal_to_the_live_teachers(
    splits, kept, tmp_path, changes, seed
) -> None:
    settings = SETTINGS.model_copy(update=changes)
    live = curve(tl.FrozenTeacher(RowByRow()), splits, settings, tmp_path / "live", seed=seed)
    cached = curve(tl.CachedTeacher(kept), splits, settings, tmp_path / "cached", seed=seed)
    assert len(live) == 5 * -(-45 // settings.batch_size)
    assert [loss.hex() for loss in cached] == [loss.hex() for loss in live]


def test_case_6_a_part_of_the_labels_in_another_order_reads_the_same_cache(
    splits, kept, tmp_path
) -> None:
    few = splits.train.subset([40, 3, 17, 8, 22, 1, 30, 5, 11, 44])
    splits = replace(splits, labelled=few)
    live = curve(tl.FrozenTeacher(RowByRow()), splits, SETTINGS, tmp_path / "live")
    cached = curve(tl.CachedTeacher(kept), splits, SETTINGS, tmp_path / "cached")
    assert [loss.hex() for loss in cached] == [loss.hex() for loss in live]


def test_case_6_views_come_from_the_cache_where_the_settings_name_none(
    splits, kept, tmp_path
) -> None:
    free = SETTINGS.model_copy(update={"views": None, "view_seed": None})
    named = curve(tl.CachedTeacher(kept), splits, SETTINGS, tmp_path / "named")
    unnamed = curve(tl.CachedTeacher(kept), splits, free, tmp_path / "unnamed")
    assert [loss.hex() for loss in named] == [loss.hex() for loss in unnamed]


def test_case_6_a_second_training_begins_with_the_first_view_again(splits, kept, tmp_path) -> None:
    teacher = tl.CachedTeacher(kept)
    distiller = tl.Distiller(
        Student(), teacher, [tl.Term(tl.KDLoss(), at=("head.3", None), via="auto")]
    )
    for seed in (0, 1):
        settings = SETTINGS.model_copy(update={"epochs": 2})
        fit(distiller, splits, settings, seed=seed)
    assert teacher.misses == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixup": 0.2}, "found mixup: 0.2"),
        ({"cutmix": 1.0, "mixup": 0.2}, "found mixup: 0.2 and cutmix: 1.0"),
        ({"views": 4}, "found views 4"),
        ({"view_seed": 12}, "view_seed 12"),
    ],
)
def test_images_that_the_cache_cannot_know_are_refused_before_the_first_step(
    splits, kept, changes, message
) -> None:
    student = Student()
    distiller = tl.Distiller(student, tl.CachedTeacher(kept), [tl.KDLoss()])
    with pytest.raises(RecipeError, match=message):
        fit(distiller, splits, SETTINGS.model_copy(update=changes), seed=0)
    first = Student().state_dict()
    assert all(torch.equal(value, first[name]) for name, value in student.state_dict().items())


def test_case_7_at_run_time_an_augmentation_that_draws_by_itself_is_noticed(
    splits, kept, tmp_path
) -> None:
    for part in (splits.train, splits.labelled):
        part.transform = lambda image: image.roll(1, -1)
    with pytest.raises((DataError, InputError), match="the pixels that its teacher was asked"):
        curve(tl.CachedTeacher(kept), splits, SETTINGS, tmp_path / "cached")


def test_a_training_begun_while_the_cache_fills_is_resumed_from_the_finished_one(
    splits, tmp_path
) -> None:
    live, data = tl.FrozenTeacher(RowByRow()), splits.train
    identity = identity_of(live, data, views=VIEWS, view_seed=SEED)
    writing = tl.WritingTeacher(
        live, tmp_path / "kept", ids=data.ids, identity=identity, views=VIEWS, view_seed=SEED
    )
    settings = SETTINGS.model_copy(update={"epochs": 4, "checkpoint_every": 1})
    whole = curve(tl.FrozenTeacher(RowByRow()), splits, settings, tmp_path / "live")
    run = RunFolder.create(tmp_path / "cached", "run")

    def stop(epoch: int, step: int, total: int, message: str) -> None:
        if epoch == 4:
            raise KeyboardInterrupt

    terms = [tl.KDLoss(temperature=3.0), tl.CELoss()]
    with tl.Distiller(Student(), writing, terms) as distiller, pytest.raises(KeyboardInterrupt):
        fit(distiller, splits, settings, seed=0, run=run, progress=stop)
    with tl.Distiller(Student(), tl.CachedTeacher(tmp_path / "kept"), terms) as distiller:
        fit(distiller, splits, settings, seed=0, run=run, resume=True)
    losses = {line["step"]: line["loss"] for line in run.read_log() if line["kind"] == "step"}
    assert [losses[step].hex() for step in sorted(losses)] == [loss.hex() for loss in whole]


def test_a_training_is_not_resumed_with_the_cache_of_another_teacher(
    splits, kept, tmp_path
) -> None:
    other = RowByRow()
    other.weight.data[0, 0] += 1
    label(tl.FrozenTeacher(other), splits.train, tmp_path / "other", views=VIEWS, view_seed=SEED)
    settings = SETTINGS.model_copy(update={"epochs": 1, "checkpoint_every": 1})
    run = RunFolder.create(tmp_path, "run")
    terms = [tl.KDLoss(), tl.CELoss()]
    with tl.Distiller(Student(), tl.CachedTeacher(kept), terms) as distiller:
        fit(distiller, splits, settings, seed=0, run=run)
    distiller = tl.Distiller(Student(), tl.CachedTeacher(tmp_path / "other"), terms)
    with pytest.raises(RecipeError, match=r"expected the task it was written with.*teacher"):
        fit(distiller, splits, settings, seed=0, run=run, resume=True)
