import dataclasses

import pytest
import torch

import tutelage as tl
from tutelage.errors import DataError, InputError, RecipeError
from tutelage.training import TrainingSettings, fit, load_checkpoint, newest_checkpoint
from tutelage.training.resume import checkpoint_folder

SETTINGS = TrainingSettings(
    epochs=4, batch_size=8, lr=0.01, scheduler="cosine", log_every=1, checkpoint_every=1
)


class Stop(Exception):
    """No error: how these tests interrupt a training."""


def stop_at(step: int):
    def progress(epoch: int, done: int, total: int, message: str) -> None:
        if done == step:
            raise Stop

    return progress


def curve(run, arm: str) -> dict[int, float]:
    """The loss by step; of two lines for one step the later counts."""
    return {r["step"]: r["loss"] for r in run.read_log() if r["kind"] == "step" and r["arm"] == arm}


def interrupted(splits, distiller, run, *, at: int, arm: str = "stopped") -> None:
    with pytest.raises(Stop):
        fit(distiller, splits, SETTINGS, seed=3, run=run, arm=arm, progress=stop_at(at))


@pytest.mark.parametrize("at", [6, 13])  # epochs have 5 steps
def test_resumed_training_equals_the_uninterrupted_one(splits, distiller, run, at) -> None:
    whole = distiller(norm=True)
    expected = fit(whole, splits, SETTINGS, seed=3, run=run, arm="whole")
    interrupted(splits, distiller(norm=True), run, at=at)
    again = distiller(norm=True, seed=77)  # whatever it starts from is replaced
    found = fit(again, splits, SETTINGS, seed=3, run=run, arm="stopped", resume=True)
    assert curve(run, "stopped") == curve(run, "whole")
    assert (found.last, found.best) == (expected.last, expected.best)
    assert (again.student.norm.running_mean == whole.student.norm.running_mean).all()


def test_best_student_before_the_interruption_is_not_forgotten(splits, distiller, run) -> None:
    settings = SETTINGS.model_copy(update={"selection": "best", "lr": 0.3, "optimizer": "sgd"})
    terms = [tl.Term(tl.CELoss())]
    expected = fit(distiller(terms), splits, settings, seed=0, run=run, arm="whole")
    with pytest.raises(Stop):
        fit(distiller(terms), splits, settings, seed=0, run=run, progress=stop_at(17))
    found = fit(distiller(terms), splits, settings, seed=0, run=run, resume=True)
    assert found.best == expected.best
    assert all((found.student[k] == expected.student[k]).all() for k in expected.student)


def test_resuming_a_finished_training_trains_no_more(splits, distiller, run) -> None:
    expected = fit(distiller(), splits, SETTINGS, seed=3, run=run)
    lines = len(run.read_log())
    found = fit(distiller(), splits, SETTINGS, seed=3, run=run, resume=True)
    assert found.last == expected.last
    assert len(run.read_log()) == lines


def test_resuming_before_the_first_checkpoint_begins(splits, distiller, run) -> None:
    expected = fit(distiller(), splits, SETTINGS, seed=3)
    assert fit(distiller(), splits, SETTINGS, seed=3, run=run, resume=True).last == expected.last


def test_checkpoint_holds_student_and_projector_and_no_teacher(splits, distiller, run) -> None:
    ours = distiller()
    fit(ours, splits, SETTINGS, seed=3, run=run, arm="kd T=4/../x")
    folder = checkpoint_folder(run, "kd T=4/../x", 3)
    assert folder.parent == run.checkpoints
    path = newest_checkpoint(folder)
    assert path is not None
    model, _, state = load_checkpoint(path)
    assert model.keys() == ours.state_dict().keys()
    assert {name.split(".")[0] for name in model} == {"student", "objective"}
    size = sum(value.numel() for value in ours.student.parameters())
    assert sum(v.numel() for k, v in model.items() if k.startswith("student")) == size
    assert len(state["optimizer"]["state"]) == len(list(ours.parameters()))


def test_damaged_newest_checkpoint_costs_an_epoch_and_not_the_run(splits, distiller, run) -> None:
    fit(distiller(), splits, SETTINGS, seed=3, run=run, arm="whole")
    interrupted(splits, distiller(), run, at=18)
    newest = newest_checkpoint(checkpoint_folder(run, "stopped", 3))
    assert newest is not None
    assert newest.name == "step-00000015"
    (newest / "state.pt").write_bytes(b"torn")
    with pytest.warns(UserWarning, match=r"state\.pt: damaged.*going on from step-00000010"):
        fit(distiller(), splits, SETTINGS, seed=3, run=run, arm="stopped", resume=True)
    assert curve(run, "stopped") == curve(run, "whole")


def test_nothing_undamaged_to_resume_from_is_an_error(splits, distiller, run) -> None:
    interrupted(splits, distiller(), run, at=7)
    (only,) = checkpoint_folder(run, "stopped", 3).iterdir()
    (only / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(DataError, match="found 1 damaged") as caught:
        fit(distiller(), splits, SETTINGS, seed=3, run=run, arm="stopped", resume=True)
    assert caught.value.exit_code == 3


def test_other_settings_are_refused_by_name(splits, distiller, run) -> None:
    interrupted(splits, distiller(), run, at=7)
    other = SETTINGS.model_copy(update={"lr": 0.02, "log_every": 3})
    with pytest.raises(RecipeError, match=r"found other lr: 0\.01 there, 0\.02 now; resume"):
        fit(distiller(), splits, other, seed=3, run=run, arm="stopped", resume=True)


def test_another_student_is_refused(splits, distiller, run) -> None:
    terms = [tl.Term(tl.CELoss())]
    interrupted(splits, distiller(terms), run, at=7)
    other = distiller(terms, norm=True)
    with pytest.raises(InputError, match="expected the student and terms it was written with"):
        fit(other, splits, SETTINGS, seed=3, run=run, arm="stopped", resume=True)


def test_another_objective_is_refused(splits, distiller, run) -> None:
    interrupted(splits, distiller([tl.Term(tl.KDLoss(temperature=2.0))]), run, at=7)
    other = distiller([tl.Term(tl.KDLoss(temperature=8.0))])
    with pytest.raises(RecipeError, match=r"found other objective: .*2\.0.* there, .*8\.0.* now"):
        fit(other, splits, SETTINGS, seed=3, run=run, arm="stopped", resume=True)


def test_an_objective_of_functions_is_the_same_wherever_it_lies_in_memory(splits, net, run) -> None:
    def make() -> tl.Distiller:
        def loss(student, teacher):
            return student.square().mean()

        return tl.Distiller(net(), tl.FrozenTeacher(net(8)), [tl.Term(loss)])

    first = make()  # kept, so that the second cannot take its place in memory
    interrupted(splits, first, run, at=7)
    found = fit(make(), splits, SETTINGS, seed=3, run=run, arm="stopped", resume=True)
    assert found.steps == 20


def test_other_training_images_are_refused(splits, distiller, run) -> None:
    interrupted(splits, distiller(), run, at=7)
    ids = splits.labelled.ids.flip(0)
    other = splits.labelled.subset(range(len(ids)))
    other.ids = ids
    changed = dataclasses.replace(splits, labelled=other)
    with pytest.raises(RecipeError, match=r"found other training images: '\w{16}' there, '\w{16}'"):
        fit(distiller(), changed, SETTINGS, seed=3, run=run, arm="stopped", resume=True)
    fewer = dataclasses.replace(splits, labelled=splits.labelled.subset(range(30)))
    with pytest.raises(RecipeError, match=r"found other total_steps: 20 there, 16 now"):
        fit(distiller(), fewer, SETTINGS, seed=3, run=run, arm="stopped", resume=True)


def test_another_teacher_is_refused(splits, distiller, run) -> None:
    interrupted(splits, distiller(), run, at=7)
    other = distiller()
    with torch.no_grad():
        other.teacher.model.head.bias += 1e-6
    with pytest.raises(RecipeError, match=r"found other teacher: '\w{16}' there, '\w{16}' now"):
        fit(other, splits, SETTINGS, seed=3, run=run, arm="stopped", resume=True)


def test_resuming_without_a_run_folder_is_an_error(splits, distiller) -> None:
    with pytest.raises(InputError, match="expected a run folder with checkpoints, found none"):
        fit(distiller(), splits, SETTINGS, seed=3, resume=True)
