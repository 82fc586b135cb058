"""The labelling pass: its grid, what it refuses, and that interruptions leave no trace."""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tutelage as tl
from tutelage.cache import Reader, Writer
from tutelage.data import ShiftFlip, TensorImages
from tutelage.data.grid import Grid
from tutelage.errors import DataError, InputError, NumericalError, ShapeError, TapError
from tutelage.training.labelling import label


@pytest.fixture
def data(splits) -> TensorImages:
    splits.labelled.transform = ShiftFlip(2)
    return splits.labelled


@pytest.fixture
def teacher(net) -> tl.FrozenTeacher:
    return tl.FrozenTeacher(net(8))


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != ".lock"
    }


def drawn(data: TensorImages, sample_id: int, view: int, view_seed: int) -> Tensor:
    one = data.subset((data.ids == sample_id).nonzero().flatten())
    one.seed = view_seed
    one.set_view(view)
    return one.__getitems__([0]).inputs


def test_every_view_of_every_image_gets_the_live_teachers_answer(data, teacher, tmp_path) -> None:
    done = label(
        teacher, data, tmp_path / "kept", views=3, view_seed=5, taps=["relu"], batch_size=16,
        about={"name": "net", "accuracy": 0.9},
    )  # fmt: skip
    assert (done.rows, done.written, done.warning) == (120, 120, None)
    assert done.manifest.extra["teacher"] == {"name": "net", "accuracy": 0.9}
    reader = Reader(tmp_path / "kept")
    assert reader.ids.tolist() == sorted(data.ids.tolist())
    teacher.provide(["relu"])
    for view in range(3):
        found = reader.read(data.ids.numpy(), view)
        for row in (0, 17, 39):
            live = teacher(drawn(data, int(data.ids[row]), view, 5))
            torch.testing.assert_close(found.logits[row], live.logits[0])
            torch.testing.assert_close(found.taps["relu"][row], live.taps["relu"][0])


def test_what_a_cell_holds_is_bit_equal_to_the_teacher_on_that_cell(
    data, teacher, tmp_path
) -> None:
    label(teacher, data, tmp_path / "kept", views=2, view_seed=5, batch_size=16)
    shown = data.subset(range(len(data)))
    shown.seed = 5
    grid, reader = Grid(shown, 16), Reader(tmp_path / "kept")
    for cell in ((0, 0), (1, 1), (2, 1)):
        batch = grid.read(cell)
        assert batch.view == cell[1]
        found = reader.read(batch.ids.numpy(), cell[1])
        assert torch.equal(found.logits, teacher(batch.inputs).logits)


def test_case_6_workers_order_and_seed_of_the_data_leave_the_same_bytes(
    data, teacher, tmp_path
) -> None:
    label(teacher, data, tmp_path / "a", views=2, batch_size=16)
    other = data.subset(torch.randperm(len(data)))
    other.seed = 77
    other.set_view(4)
    label(teacher, other, tmp_path / "b", views=2, batch_size=16, workers=2)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


class Stop(Exception):
    """Stands for anything that ends a pass."""


@pytest.mark.filterwarnings("ignore:cache. the top 2 of 3")
@pytest.mark.parametrize("calls", [1, 3, 6])
def test_case_10_an_interrupted_pass_goes_on_to_the_same_bytes(
    data, teacher, tmp_path, calls
) -> None:
    options = {"views": 2, "batch_size": 16, "top_k": 2, "temperatures": (4.0,), "dtype": "fp16"}
    label(teacher, data, tmp_path / "whole", **options)
    asked: list[int] = []

    def stop(done: int, total: int) -> None:
        asked.append(done)
        if len(asked) == calls:
            raise Stop

    with pytest.raises(Stop):
        label(teacher, data, tmp_path / "kept", **options, progress=stop)
    told: list[tuple[int, int]] = []
    done = label(
        teacher, data, tmp_path / "kept", **options, progress=lambda *now: told.append(now)
    )
    # The batch whose answers waited was lost with the pass.
    assert 80 - done.written == asked[-1] <= calls * 16
    assert told[-1] == (done.written, done.written)
    assert bytes_of(tmp_path / "kept") == bytes_of(tmp_path / "whole")


def test_case_10_a_cell_with_one_row_missing_is_asked_about_whole(data, net, tmp_path) -> None:
    sizes: list[int] = []

    class Counting(tl.FrozenTeacher):
        def forward(self, inputs, ids=None):
            sizes.append(len(inputs))
            return super().forward(inputs, ids)

    options = {"views": 2, "batch_size": 16}
    label(Counting(net(8)), data, tmp_path / "whole", **options)
    whole = Reader(tmp_path / "whole")
    with Writer.create(
        tmp_path / "kept", whole.layout, data.ids.numpy(), whole.manifest.identity
    ) as writer:
        place = np.delete(np.arange(40), 19)
        for view in range(2):
            rows = whole.read(whole.ids[place], view)
            writer.write(place, view, {"logits": rows.logits.numpy()}, rows.marks.numpy())
    sizes.clear()
    done = label(Counting(net(8)), data, tmp_path / "kept", **options)
    assert sizes == [1, 16, 16]  # the shape of the answers, then cells (1, 0) and (1, 1)
    assert done.written == 2
    assert bytes_of(tmp_path / "kept") == bytes_of(tmp_path / "whole")


def test_a_finished_cache_is_checked_and_left_alone(data, teacher, net, tmp_path) -> None:
    first = label(teacher, data, tmp_path / "kept", batch_size=16)
    before = bytes_of(tmp_path / "kept")
    again = label(teacher, data, tmp_path / "kept", batch_size=8)
    assert (again.written, again.manifest) == (0, first.manifest)
    assert bytes_of(tmp_path / "kept") == before
    with pytest.raises(DataError, match=r"teacher\.tensors"):
        label(tl.FrozenTeacher(net(8, seed=1)), data, tmp_path / "kept")
    with pytest.raises(DataError, match=r"layout\.views +2 +1"):
        label(teacher, data, tmp_path / "kept", views=2)
    with pytest.raises(InputError, match="expected a folder without a cache"):
        label(teacher, data, tmp_path / "kept", resume=False)


def test_case_3_a_half_built_cache_of_another_teacher_is_not_continued(
    data, teacher, net, tmp_path
) -> None:
    def stop(done: int, total: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        label(teacher, data, tmp_path / "kept", progress=stop)
    with pytest.raises(DataError, match=r"identity\.teacher\.tensors"):
        label(tl.FrozenTeacher(net(8, seed=1)), data, tmp_path / "kept")


class OwnGenerator:
    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __call__(self, image: Tensor) -> Tensor:
        return image.roll(int(self.rng.integers(6)), -1)


def test_case_7_augmentation_without_replay_is_refused_before_anything_is_made(
    data, teacher, tmp_path
) -> None:
    data.transform = OwnGenerator()
    with pytest.raises(InputError, match="generator of its own"):
        label(teacher, data, tmp_path / "kept", views=2)
    assert not (tmp_path / "kept").exists()


def test_several_views_of_images_that_are_always_the_same_are_refused(
    data, teacher, tmp_path
) -> None:
    with pytest.raises(InputError, match="expected 1 for images without augmentation"):
        label(teacher, data.plain(), tmp_path / "kept", views=2)


class Broken(nn.Module):
    """Answers well but for bright images."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(36, 3)

    def forward(self, x: Tensor) -> Tensor:
        lost = (x.flatten(1).amax(1, keepdim=True) > 100).float()
        return self.head(x.flatten(1)) + torch.where(lost > 0, torch.nan, 0.0)


def test_case_15_a_row_of_nan_names_its_sample_and_is_not_kept(data, tmp_path) -> None:
    data = data.plain()
    bad = int(data.ids[33])
    data._images[data._rows[33]] = 50.0
    with pytest.raises(NumericalError, match=f"found NaN or inf for samples {bad};"):
        label(tl.FrozenTeacher(Broken()), data, tmp_path / "kept", batch_size=8)
    reader = Reader(tmp_path / "kept", partial=True)
    assert not reader.read([bad], absent="mask").present.any()


@pytest.mark.parametrize("policy", ["warns", "is silent"])
def test_case_18_little_kept_mass_warns_with_the_number(data, net, tmp_path, policy) -> None:
    model = net(8)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
    path, teacher = tmp_path / "kept", tl.FrozenTeacher(model)
    if policy == "is silent":
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert label(teacher, data, path, top_k=3).warning is None
        return
    with pytest.warns(UserWarning, match=r"top 2 of 3 classes hold 0\.800 .* 0\.223 nats"):
        done = label(teacher, data, path, top_k=2, dtype="fp32")
    assert done.manifest.extra["kept_mass"]["mean"] == pytest.approx(0.8, abs=1e-6)
    assert done.manifest.extra["kept_mass"]["bias"] == pytest.approx(-np.log(0.8), abs=1e-6)


def test_a_teacher_in_bf16_is_judged_on_a_whole_cell_and_known_as_such(data, net, tmp_path) -> None:
    teacher = tl.FrozenTeacher(net(8), precision="bf16")
    first = Grid(data, 16).read((0, 0))
    label(teacher, data, tmp_path / "kept", batch_size=16)
    assert teacher.engine is not None
    whole = tl.FrozenTeacher(net(8), precision="bf16")
    whole(first.inputs)
    assert teacher.engine.drift == whole.engine.drift
    assert teacher.engine.is_low
    with pytest.raises(DataError, match=r"teacher\.precision +None +bf16"):
        label(tl.FrozenTeacher(net(8)), data, tmp_path / "kept", batch_size=16)


def test_the_teacher_stays_ready_and_frozen(data, teacher, tmp_path) -> None:
    label(teacher, data, tmp_path / "kept", taps=["relu"])
    assert teacher(drawn(data, int(data.ids[0]), 0, 0)).logits.shape == (1, 3)
    assert not any(p.requires_grad for p in teacher.model.parameters())
    ensemble = tl.EnsembleTeacher({"a": teacher})
    label(ensemble, data, tmp_path / "both", taps=["a/relu"])
    assert Reader(tmp_path / "both").layout.taps[0].name == "a/relu"


def test_unknown_taps_and_dense_teachers_are_refused(data, teacher, net, tmp_path) -> None:
    with pytest.raises(TapError, match="rellu"):
        label(teacher, data, tmp_path / "kept", taps=["rellu"])
    with pytest.raises(ShapeError, match=r"logits \[B, C\], found \[1, 8, 6, 6\]"):
        label(tl.FrozenTeacher(net(8).body), data, tmp_path / "kept")
    for name, value in (("views", 0), ("batch_size", 0)):
        with pytest.raises(InputError, match=name):
            label(teacher, data, tmp_path / "kept", **{name: value})


def test_the_callers_data_and_random_state_are_left_alone(data, teacher, tmp_path) -> None:
    data.seed = 9
    data.set_view(1)
    state = torch.get_rng_state()
    label(teacher, data, tmp_path / "kept", views=2, view_seed=3, workers=1)
    assert torch.equal(state, torch.get_rng_state())
    assert (data.seed, data.view) == (9, 1)
    assert replace(Reader(tmp_path / "kept").layout, views=1).view_seed == 3


def test_every_batch_is_written_behind_the_next_one(data, teacher, tmp_path) -> None:
    told: list[tuple[int, int]] = []
    progress: Callable[[int, int], None] = lambda *now: told.append(now)  # noqa: E731
    label(teacher, data, tmp_path / "kept", batch_size=16, progress=progress)
    assert told == [(0, 40), (16, 40), (32, 40), (40, 40)]
