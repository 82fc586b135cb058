"""What a widely read tutorial on hints gets wrong, each as a test of the loop here."""

import gc
import weakref

import pytest
import torch
from torch import Tensor

import tutelage as tl
from tutelage.training import TrainingSettings, evaluate, fit
from tutelage.training.progress import Progress, copy_state


def hinted(net, *, student=None) -> tl.Distiller:
    teacher = tl.FrozenTeacher(net(8, seed=99))
    terms = [tl.CELoss(), tl.KDLoss(), tl.Term(tl.HintLoss(), at=("relu", "relu"), via="auto")]
    example = torch.rand(4, 1, 6, 6)
    return tl.Distiller(student or net(4), teacher, terms, example=example)


def settings(**changes) -> TrainingSettings:
    fixed = {"epochs": 2, "batch_size": 8, "optimizer": "sgd", "lr": 0.05, "device": "cpu"}
    return TrainingSettings.model_validate(fixed | changes)


def test_the_projector_is_the_students_and_it_moves(splits, net) -> None:
    with hinted(net) as distiller:
        [term] = [term for term in distiller.objective if term.via is not None]
        before = copy_state(term.via)
        assert [tuple(p.shape)[:2] for p in term.via.parameters() if p.ndim > 1] == [(8, 4)]
        fit(distiller, splits, settings(), seed=0)
        after = copy_state(term.via)
        names = [name for name, _ in term.via.named_parameters()]
    assert names
    assert all(not torch.equal(before[name], after[name]) for name in names)


def test_the_projectors_gradients_do_not_add_up_from_step_to_step(splits, net) -> None:
    """With a rate of next to 0 each step has the gradient of its own batch, and no other."""
    norms: list[float] = []
    with hinted(net) as distiller:
        [term] = [term for term in distiller.objective if term.via is not None]
        weight = next(p for p in term.via.parameters() if p.ndim > 1)
        weight.register_post_accumulate_grad_hook(lambda p: norms.append(p.grad.norm().item()))
        fit(distiller, splits, settings(epochs=4, lr=1e-12), seed=0)
    assert len(norms) >= 8
    assert max(norms) < 2 * min(norms)


def test_best_weights_are_no_alias_of_live_ones(net) -> None:
    student = net(4)
    kept, progress = copy_state(student), Progress()
    progress.best = copy_state(student)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    live = {tensor.data_ptr() for tensor in student.state_dict().values()}
    for name, tensor in progress.best.items():
        assert torch.equal(tensor, kept[name])
        assert tensor.data_ptr() not in live


def test_the_best_student_is_the_best_on_validation_images(splits, net, run) -> None:
    wild = settings(epochs=8, lr=1.5, selection="best", validate_every=1)  # worse at times
    with tl.Distiller(net(4), None, [tl.CELoss()]) as distiller:
        found = fit(distiller, splits, wild, seed=0, run=run)
    curve = [r for r in run.read_log() if r["kind"] == "epoch"]
    top = max(record["validation"]["accuracy"] for record in curve)
    assert found.scores.validation.accuracy == top
    student = net(4)
    student.load_state_dict(found.student)
    assert evaluate(student, splits.validation).accuracy == top


def test_evaluation_does_not_gather_feature_maps(splits, net) -> None:
    student, alive = net(4), []
    with hinted(net, student=student) as distiller:
        handle = student.relu.register_forward_hook(
            lambda module, inputs, output: alive.append(weakref.ref(output))
        )
        evaluate(student, splits.validation, batch_size=2)
        evaluate(distiller.teacher, splits.validation, batch_size=2)
        handle.remove()
        gc.collect()
        assert len(alive) > 4
        # The last one may wait for a read; a second forward would have let go of it.
        assert sum(ref() is not None for ref in alive) <= 1


@pytest.mark.parametrize("fails", [False, True], ids=["at the end", "after an error"])
def test_no_hook_is_left_on_either_model(splits, net, fails: bool) -> None:
    student = net(4)
    distiller = hinted(net, student=student)
    teacher = distiller.teacher.model

    def stop(epoch: int, step: int, total: int, message: str) -> None:
        if fails:
            raise KeyboardInterrupt

    try:
        with distiller:
            fit(distiller, splits, settings(log_every=1), seed=0, progress=stop)
    except KeyboardInterrupt:
        assert fails
    hooks = [
        hook
        for model in (student, teacher)
        for part in model.modules()
        for hook in (*part._forward_hooks.values(), *part._forward_pre_hooks.values())
    ]
    assert hooks == []


def test_the_teacher_stays_as_it_was_statistics_and_all(splits, net) -> None:
    teacher = net(8, seed=99, norm=True)
    before = copy_state(teacher)
    terms = [tl.CELoss(), tl.KDLoss()]
    with tl.Distiller(net(4, norm=True), tl.FrozenTeacher(teacher), terms) as distiller:
        fit(distiller, splits, settings(), seed=0)
    after: dict[str, Tensor] = copy_state(teacher)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in teacher.parameters())
