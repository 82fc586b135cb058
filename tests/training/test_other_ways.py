"""Training without another model, and on mixed images."""

import pytest
import torch

import tutelage as tl
from tutelage.errors import InputError
from tutelage.models import Cohort
from tutelage.training import TrainingSettings, fit

SETTINGS = TrainingSettings(epochs=4, batch_size=8, lr=0.01)


def test_a_mean_teacher_goes_on_where_it_was_interrupted(splits, net, run) -> None:
    def distiller() -> tl.Distiller:
        student = net(4, norm=True)
        terms = [tl.Term(tl.CELoss()), tl.Term(tl.KDLoss())]
        return tl.Distiller(student, tl.EMATeacher(student, decay=0.9), terms)

    whole = fit(distiller(), splits, SETTINGS, seed=0)
    every = SETTINGS.model_copy(update={"checkpoint_every": 1})

    class StopError(Exception):
        pass

    def stop(epoch: int, step: int, total: int, message: str) -> None:
        if epoch == 3:
            raise StopError

    with pytest.raises(StopError):
        fit(distiller(), splits, every, seed=0, run=run, progress=stop)
    again = fit(distiller(), splits, every, seed=0, run=run, resume=True)
    for name, value in whole.student.items():
        torch.testing.assert_close(again.student[name], value, rtol=0, atol=0)


def test_a_cohort_trains_and_reports_without_a_teacher_to_ask(splits, net) -> None:
    kd = tl.KDLoss(temperature=1.0)
    terms = [
        tl.Term(tl.CELoss()),
        tl.Term(tl.CELoss(), at="members.1", name="ce 1"),
        tl.Term(kd, at=("members.0", "members.1"), name="0 from 1"),
        tl.Term(kd, at=("members.1", "members.0"), name="1 from 0"),
    ]
    cohort = Cohort([net(4, 0), net(4, 1)])
    before = {name: value.clone() for name, value in cohort.named_parameters()}
    result = fit(tl.Distiller(cohort, tl.Itself(), terms), splits, SETTINGS, seed=0)
    assert result.last.test.accuracy > 0.6
    assert result.last.test.agreement is None
    assert all(not torch.equal(value, before[name]) for name, value in cohort.named_parameters())


def test_mixed_images_teach_without_labels(splits, net) -> None:
    teacher = net(8, 99)
    fit(tl.Distiller(teacher, None, [tl.Term(tl.CELoss())]), splits, SETTINGS, seed=0)
    student = net(4, 0)
    distiller = tl.Distiller(student, tl.FrozenTeacher(teacher), [tl.KDLoss(temperature=1.0)])
    settings = SETTINGS.model_copy(update={"mixup": 1.0, "epochs": 8})
    result = fit(distiller, splits, settings, seed=0)
    assert result.last.test.accuracy > 0.6


def test_mixing_changes_with_the_step_and_not_between_runs(splits, net) -> None:
    def trained(**changes) -> dict[str, torch.Tensor]:
        distiller = tl.Distiller(net(4), None, [tl.Term(tl.CELoss())])
        return fit(distiller, splits, SETTINGS.model_copy(update=changes), seed=0).student

    plain, one, two = trained(), trained(mixup=0.5), trained(mixup=0.5)
    assert torch.equal(one["body.weight"], two["body.weight"])
    assert not torch.equal(one["body.weight"], plain["body.weight"])
    assert not torch.equal(one["body.weight"], trained(cutmix=0.5)["body.weight"])


def test_a_loss_that_needs_the_true_class_refuses_mixed_labels(splits, net) -> None:
    distiller = tl.Distiller(net(4), tl.FrozenTeacher(net(8)), [tl.DKDLoss()])
    settings = SETTINGS.model_copy(update={"mixup": 1.0})
    with pytest.raises(InputError, match="with mixed labels there is no true class; leave mixup"):
        fit(distiller, splits, settings, seed=0)
