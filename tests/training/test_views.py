"""Views of a training, as a teacher that reads a cache needs them (case 6 of the fault plan)."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import tutelage as tl
from tutelage.data import ShiftFlip, loader
from tutelage.errors import RecipeError
from tutelage.signals import Signals
from tutelage.training import TrainingSettings, fit
from tutelage.training.views import Views, views_for

SETTINGS = TrainingSettings(epochs=5, batch_size=8, device="cpu")


class Reader(tl.FrozenTeacher):
    """A live teacher that notes what a cache would be asked."""

    def __init__(self, module, layout=None) -> None:
        super().__init__(module)
        self.layout = layout
        self.view = None
        self.asked: list[tuple[int, int, bytes]] = []

    def set_view(self, view: int) -> None:
        self.view = view

    def forward(self, inputs, ids=None) -> Signals:
        pairs = zip(ids.tolist(), inputs, strict=True)
        self.asked += [(self.view, one, pixels.numpy().tobytes()) for one, pixels in pairs]
        return super().forward(inputs, ids)


def augmented(splits):
    data = splits.labelled
    data.transform = ShiftFlip(2)
    return replace(splits, train=data, labelled=data)


@pytest.mark.parametrize("workers", [0, 2])
def test_views_come_again_and_the_teacher_knows_which(splits, net, workers) -> None:
    splits, teacher = augmented(splits), Reader(net(8, seed=9))
    distiller = tl.Distiller(net(4), teacher, [tl.KDLoss()])
    settings = SETTINGS.model_copy(update={"views": 2, "view_seed": 5, "workers": workers})
    fit(distiller, splits, settings, seed=0)
    assert sorted({view for view, _, _ in teacher.asked}) == [0, 1]
    pixels: dict[tuple[int, int], set[bytes]] = {}
    for view, one, image in teacher.asked:
        pixels.setdefault((view, one), set()).add(image)
    assert len(pixels) == 2 * len(splits.labelled)
    assert {len(images) for images in pixels.values()} == {1}
    one = splits.labelled.subset([0])
    one.seed = 5
    one.set_view(1)
    assert pixels[1, int(one.ids)] == {one[0][0].numpy().tobytes()}


def test_students_of_other_seeds_see_the_views_of_one_view_seed(splits, net) -> None:
    splits, seen = augmented(splits), []
    for seed in (0, 1):
        splits.labelled.seed = seed  # as data.load(seed=seed) gives it
        teacher = Reader(net(8, seed=9))
        settings = SETTINGS.model_copy(update={"views": 1, "view_seed": 5, "epochs": 1})
        fit(tl.Distiller(net(4), teacher, [tl.KDLoss()]), splits, settings, seed=seed)
        seen.append(teacher.asked)
    assert seen[0] != seen[1]
    assert set(seen[0]) == set(seen[1])


def test_without_views_every_epoch_shows_a_new_one_in_the_seed_of_the_data(splits) -> None:
    splits.labelled.seed = 3
    views = views_for(SETTINGS, splits.labelled, None)
    assert [views.in_epoch(splits.labelled, epoch).view for epoch in (0, 7)] == [0, 7]
    assert views.in_epoch(splits.labelled, 0).seed == 3


def test_a_caches_own_views_are_the_default(splits, net) -> None:
    splits = augmented(splits)
    teacher = Reader(net(), SimpleNamespace(views=3, view_seed=11))
    wrapped = tl.ShuffledTeacher(teacher, seed=0)
    assert views_for(SETTINGS, splits.labelled, wrapped) == Views(3, 11)


def test_fewer_views_than_the_cache_holds_are_fine_and_more_are_not(splits, net) -> None:
    data, teacher = augmented(splits).labelled, Reader(net(), SimpleNamespace(views=3, view_seed=1))
    assert views_for(SETTINGS.model_copy(update={"views": 2}), data, teacher).count == 2
    with pytest.raises(RecipeError, match=r"views up to 3 with view_seed 1, found views 4"):
        views_for(SETTINGS.model_copy(update={"views": 4}), data, teacher)
    with pytest.raises(RecipeError, match=r"found views 3 with view_seed 2; leave both"):
        views_for(SETTINGS.model_copy(update={"view_seed": 2}), data, teacher)


@pytest.mark.parametrize("mixing", [{"mixup": 0.2}, {"cutmix": 1.0}])
def test_mixed_images_are_refused_before_the_first_step(splits, net, mixing) -> None:
    teacher, student = Reader(net(8)), net(4)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    distiller = tl.Distiller(student, teacher, [tl.KDLoss()])
    with pytest.raises(RecipeError, match=f"found {next(iter(mixing))}.*mixes each image"):
        fit(distiller, splits, SETTINGS.model_copy(update=mixing), seed=0)
    assert not teacher.asked
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_teacher_with_a_cache_is_not_asked_about_test_images(splits, net) -> None:
    teacher = Reader(net(8))
    settings = SETTINGS.model_copy(update={"epochs": 1})
    result = fit(tl.Distiller(net(4), teacher, [tl.KDLoss()]), splits, settings, seed=0)
    assert {one for _, one, _ in teacher.asked} == set(splits.labelled.ids.tolist())
    assert result.last.test.agreement is None


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_says_which_view_it_shows_also_after_the_data_moved_on(splits, workers) -> None:
    data = augmented(splits).labelled
    data.set_view(4)
    batches = iter(loader(data, 8, seed=0, epoch=0, workers=workers))
    first = next(batches)
    data.set_view(5)
    assert [first.view, next(batches).view] == [4, 4]


def test_every_change_of_a_batch_keeps_its_view(splits) -> None:
    data = splits.labelled
    data.set_view(4)
    batch = data.__getitems__([0, 1])
    assert batch.to("cpu").view == batch.with_parts(*batch).view == 4
    inputs: Tensor
    inputs, *_ = batch
    assert len(list(batch)) == 3
    assert len(inputs) == 2
