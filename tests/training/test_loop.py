import dataclasses
import math

import pytest
import torch

import tutelage as tl
from tutelage.errors import InputError, RecipeError
from tutelage.training import Ranks, TrainingSettings, evaluate, fit
from tutelage.training.epochs import batches_of, warn_of_dropped
from tutelage.training.seeds import forked, seed_everything


def settings(**changes: object) -> TrainingSettings:
    base = {"epochs": 2, "batch_size": 8, "lr": 0.01, "log_every": 1}
    if "steps" in changes:
        base.pop("epochs")
    return TrainingSettings(**{**base, **changes})


def losses(run, arm: str = "student") -> list[float]:
    return [r["loss"] for r in run.read_log() if r["kind"] == "step" and r["arm"] == arm]


def copied(tensors) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in tensors}


def test_student_and_projector_move_and_the_teacher_does_not(splits, distiller) -> None:
    ours = distiller(norm=True).eval()
    teacher = copied(ours.teacher.named_tensors())
    student = copied(ours.student.named_parameters())
    with torch.no_grad():
        ours(*splits.train.__getitems__([0, 1, 2]))  # sizes the projector
    projector = copied(ours.objective.named_parameters())
    assert projector
    fit(ours, splits, settings(optimizer="adamw", weight_decay=0.1), seed=0)
    for name, value in ours.teacher.named_tensors():
        assert torch.equal(value, teacher[name]), name
    for moved, before in (
        (ours.student.named_parameters(), student),
        (ours.objective.named_parameters(), projector),
    ):
        for name, value in moved:
            assert not torch.equal(value, before[name]), name


def test_training_learns_the_task(splits, distiller) -> None:
    ours = distiller([tl.Term(tl.CELoss())])
    before = evaluate(ours.student, splits.test)
    found = fit(ours, splits, settings(epochs=15), seed=0)
    assert found.last.test.accuracy > 0.9 > before.accuracy
    assert found.last.test == evaluate(ours.student, splits.test)


def test_loop_equals_one_written_by_hand(splits, distiller, run) -> None:
    fit(distiller([tl.Term(tl.CELoss())]), splits, settings(optimizer="sgd"), seed=3, run=run)
    student = distiller([tl.Term(tl.CELoss())]).student
    optimizer = torch.optim.SGD(student.parameters(), 0.01, momentum=0.9)
    expected = []
    for epoch in range(2):
        for batch in tl.data.loader(splits.train, 8, seed=3, epoch=epoch):
            loss = torch.nn.functional.cross_entropy(student(batch.inputs), batch.target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            expected.append(loss.item())
    assert losses(run) == expected


def test_same_seed_gives_the_same_curve_and_another_seed_another(splits, distiller, run) -> None:
    for arm, seed in (("a", 1), ("b", 1), ("c", 2)):
        torch.rand(7)  # whatever the caller did with the generators before
        fit(distiller(norm=True), splits, settings(), seed=seed, run=run, arm=arm)
    assert losses(run, "a") == losses(run, "b")
    assert losses(run, "a") != losses(run, "c")


def test_dropout_is_the_same_whatever_projectors_drew(splits, distiller, run) -> None:
    ce = tl.Term(tl.CELoss())
    watch = tl.Term(tl.HintLoss(), 1e-30, at=("relu", "relu"), via="auto")
    fit(distiller([ce], norm=True), splits, settings(), seed=1, run=run, arm="alone")
    fit(distiller([ce, watch], norm=True), splits, settings(), seed=1, run=run, arm="hint")
    assert losses(run, "alone") == losses(run, "hint")


def test_callers_random_state_is_given_back(splits, distiller) -> None:
    with forked():
        seed_everything(0)
        expected = torch.rand(3)
        seed_everything(0)
        fit(distiller(norm=True), splits, settings(epochs=1), seed=5)
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("batch_size", [8, 9])
def test_accumulation_changes_nothing_but_rounding(splits, distiller, run, batch_size) -> None:
    for pieces in (1, 3):
        fit(
            distiller(),
            splits,
            settings(accumulate=pieces, batch_size=batch_size, optimizer="sgd"),
            seed=0,
            run=run,
            arm=str(pieces),
        )
    assert losses(run, "3") == pytest.approx(losses(run, "1"), rel=1e-5)


def test_clipping_bounds_the_first_step(splits, distiller) -> None:
    ours = distiller([tl.Term(tl.CELoss(), 1000.0)])
    before = torch.cat([p.detach().flatten().clone() for p in ours.student.parameters()])
    fit(
        ours,
        splits,
        settings(steps=1, optimizer="sgd", momentum=0.0, lr=0.1, clip_norm=0.5),
        seed=0,
    )
    after = torch.cat([p.detach().flatten() for p in ours.student.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.1 * 0.5, rel=1e-3)


def test_steps_stop_in_the_middle_of_an_epoch(splits, distiller, run) -> None:
    found = fit(distiller(), splits, settings(steps=7), seed=0, run=run)  # an epoch has 5 steps
    assert found.steps == 7
    records = run.read_log()
    assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, 8))
    assert [(r["epoch"], r["step"]) for r in records if r["kind"] == "epoch"] == [(1, 5), (2, 7)]


def test_lone_sample_at_the_end_of_an_epoch_is_left_out(splits, distiller) -> None:
    odd = dataclasses.replace(splits, labelled=splits.train.subset(range(17)))
    assert fit(distiller(norm=True), odd, settings(), seed=0).steps == 4
    assert fit(distiller(), odd, settings(batch_size=1, epochs=1), seed=0).steps == 17


@pytest.mark.parametrize(
    ("world_size", "norm", "steps"), [(1, False, 4), (1, True, 4), (2, False, 4), (2, True, 3)]
)
def test_last_batch_of_two_is_left_out_only_for_a_batch_norm_on_two_processes(
    splits, distiller, world_size, norm, steps
) -> None:
    ranks = Ranks(0, world_size, torch.device("cpu"))
    images = splits.train.subset([i % 40 for i in range(26)])
    ours = distiller([tl.Term(tl.CELoss())], norm=norm)
    batches = batches_of(ours, images, settings(), ranks, seed=0, epoch=0)  # 26 = 3 * 8 + 2
    assert len(batches) == steps
    if steps < 4:
        with pytest.warns(UserWarning, match="leaves out 2 images: .* too small for 2 processes"):
            warn_of_dropped(batches, ranks)
    else:
        warn_of_dropped(batches, ranks)


def test_modes_of_layers_come_back_and_a_frozen_norm_stays_frozen(splits, distiller) -> None:
    ours = distiller([tl.Term(tl.CELoss())], norm=True)
    ours.student.norm.eval().requires_grad_(False)
    ours.student.drop.eval()  # has nothing to freeze: trains like the rest, and is given back
    given = {module: module.training for module in ours.modules()}
    mean = ours.student.norm.running_mean.clone()
    seen = []
    ours.student.drop.register_forward_hook(lambda drop, *_: seen.append(drop.training))
    fit(ours, splits, settings(epochs=1), seed=0)
    assert any(seen)
    assert {module: module.training for module in ours.modules()} == given
    assert torch.equal(ours.student.norm.running_mean, mean)


def test_norm_in_eval_mode_that_is_not_frozen_trains(splits, distiller) -> None:
    ours = distiller([tl.Term(tl.CELoss())], norm=True).eval()
    mean = ours.student.norm.running_mean.clone()
    fit(ours, splits, settings(epochs=1), seed=0)
    assert not torch.equal(ours.student.norm.running_mean, mean)
    assert not ours.training


def test_state_that_is_no_tensor_is_refused_at_the_start(splits, distiller) -> None:
    class Counting(torch.nn.Module):
        def get_extra_state(self):
            return {"count": 3}

    ours = distiller([tl.Term(tl.CELoss())])
    ours.student.counting = Counting()
    with pytest.raises(InputError, match=r"found student\.counting\._extra_state \(dict\); let"):
        fit(ours, splits, settings(), seed=0)


def test_log_holds_loss_parts_and_learning_rate(splits, distiller, run) -> None:
    fit(distiller(), splits, settings(log_every=2, scheduler="linear"), seed=4, run=run, arm="kd")
    steps = [r for r in run.read_log() if r["kind"] == "step"]
    assert [r["step"] for r in steps] == [2, 4, 6, 8, 10]
    assert [r["epoch"] for r in steps] == [1, 1, 2, 2, 2]
    assert [r["lr"] for r in steps] == pytest.approx([0.009, 0.007, 0.005, 0.003, 0.001])
    for record in steps:
        assert (record["arm"], record["seed"]) == ("kd", 4)
        parts = record["parts"]
        total = 0.5 * parts["ce"] + 0.5 * parts["kd"] + 0.1 * parts["hint"]
        assert record["loss"] == pytest.approx(total, rel=1e-5)


def test_schedules_follow_the_optimiser_steps(splits, distiller, run) -> None:
    terms = [tl.Term(tl.CELoss(), tl.Linear(0.0, 1.0, steps=4))]
    fit(distiller(terms), splits, settings(accumulate=2), seed=0, run=run)
    steps = [r for r in run.read_log() if r["kind"] == "step"]
    factors = [r["loss"] / r["parts"]["ce"] for r in steps]
    assert factors[:6] == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])


def test_validation_is_the_plain_task_of_the_student_alone(splits, distiller, run) -> None:
    ours = distiller()
    found = fit(ours, splits, settings(epochs=1), seed=0, run=run)
    alone = evaluate(ours.student_only(), splits.validation)
    assert found.last.validation == alone
    (record,) = [r for r in run.read_log() if r["kind"] == "epoch"]
    assert record["validation"] == {"accuracy": alone.accuracy, "nll": alone.nll}


def test_best_student_is_a_copy_that_later_steps_do_not_move(splits, distiller, run) -> None:
    wild = settings(epochs=12, optimizer="sgd", lr=1.5, selection="best")  # worse at times
    found = fit(distiller([tl.Term(tl.CELoss())]), splits, wild, seed=0, run=run)
    curve = [
        (-r["validation"]["accuracy"], r["validation"]["nll"], r["epoch"])
        for r in run.read_log()
        if r["kind"] == "epoch"
    ]
    assert found.best.epoch == min(curve)[2] < 12
    assert found.scores == found.best
    bare = distiller().student_only()
    bare.load_state_dict(found.student)
    assert evaluate(bare, splits.validation) == found.best.validation
    assert evaluate(bare, splits.test).accuracy == found.best.test.accuracy


def test_agreement_is_measured_against_the_reference(splits, distiller, net) -> None:
    reference = tl.FrozenTeacher(net(8, seed=7))
    alone = distiller([tl.Term(tl.CELoss())])
    assert fit(alone, splits, settings(epochs=1), seed=0).last.test.agreement is None
    alone = distiller([tl.Term(tl.CELoss())])
    found = fit(alone, splits, settings(epochs=1), seed=0, reference=reference)
    assert found.last.test == evaluate(alone.student, splits.test, teacher=reference)


def test_progress_hears_each_line_of_the_log(splits, distiller) -> None:
    heard: list[tuple[int, int, int, str]] = []
    fit(
        distiller(),
        splits,
        settings(epochs=1, log_every=5),
        seed=0,
        progress=lambda *news: heard.append(news),
    )
    assert [news[:3] for news in heard] == [(1, 5, 5), (1, 5, 5)]
    assert heard[0][3].startswith("loss ")
    assert heard[1][3].startswith("validation accuracy ")


def test_parameter_that_nothing_trains_is_named(splits, distiller) -> None:
    class Idle(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used = torch.nn.Conv2d(4, 8, 1)
            self.idle = torch.nn.Parameter(torch.zeros(3))

        def forward(self, x):
            return self.used(x)

    terms = [tl.Term(tl.HintLoss(), at=("relu", "relu"), via=Idle())]
    with pytest.raises(RecipeError, match=r"found none for objective\.terms\.0\.via\.idle;"):
        fit(distiller(terms), splits, settings(), seed=0)


def test_bfloat16_trains_in_lower_precision(splits, distiller, run) -> None:
    for precision in ("fp32", "bf16"):
        fit(
            distiller(),
            splits,
            settings(precision=precision, epochs=1),
            seed=0,
            run=run,
            arm=precision,
        )
    full, half = losses(run, "fp32"), losses(run, "bf16")
    assert half != full
    assert half == pytest.approx(full, rel=0.05)
    assert all(math.isfinite(value) for value in half)
