import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("fastai", reason="fastai is not installed")

from fastai.callback.core import Callback
from fastai.callback.mixup import CutMix, MixUp

import tutelage as tl
from tutelage.adapters.fastai import (
    DecoupledKD,
    FitNet,
    KnowledgeDistillationCallback,
    SoftTarget,
)
from tutelage.errors import InputError

MIXERS = [MixUp, CutMix]


@pytest.mark.parametrize("make", MIXERS)
def test_teacher_and_student_see_the_same_mixed_images(learner, teacher, make) -> None:
    seen = {"teacher": [], "student": []}
    learn = learner(KnowledgeDistillationCallback(teacher, SoftTarget, metrics=False), make())
    for name, model in (("teacher", teacher), ("student", learn.model)):
        model.register_forward_pre_hook(
            lambda module, args, name=name: seen[name].append(args[0].clone())
        )
    originals = torch.stack([x for x, _ in learn.dls.train.dataset])[:8].clone()
    learn.fit(1)
    trained, taught = seen["student"][1:3], seen["teacher"][1:3]  # the first was the trial
    assert all(torch.equal(a, b) for a, b in zip(trained, taught, strict=True))
    assert not torch.equal(trained[0], originals)


@pytest.mark.parametrize("make", MIXERS)
def test_labels_that_losses_read_are_mixed_as_those_of_the_task(learner, teacher, make) -> None:
    watched = []

    def own(student, teacher, target):
        watched.append((student.detach(), target))
        return F.cross_entropy(student, target)

    tasks = []
    kd = KnowledgeDistillationCallback(teacher, own, weight=0.0, projector=None, metrics=False)
    kd.weight = 1.0
    # Before the mixture, the learner's own loss of the mixed batch.
    task = Callback(after_loss=lambda self: tasks.append(self.learn.loss.detach()))
    task.order = -6
    learn = learner(kd, make(), task)
    learn.fit(1)
    assert len(watched) == 2
    for (logits, target), expected in zip(watched, tasks, strict=False):
        assert target.shape == (8, 4)
        torch.testing.assert_close(target.sum(1), torch.ones(8))
        torch.testing.assert_close(F.cross_entropy(logits, target), torch.Tensor(expected))


@pytest.mark.parametrize("make", MIXERS)
def test_a_loss_of_the_true_class_says_that_mixed_labels_have_none(learner, teacher, make) -> None:
    learn = learner(KnowledgeDistillationCallback(teacher, DecoupledKD), make())
    with pytest.raises(InputError, match="with mixed labels there is no true class; leave mixup"):
        learn.fit(1)


def test_soft_labels_in_the_data_set_reach_losses_that_take_them(learner, teacher, loaders) -> None:
    dls = loaders()
    for dl in (dls.train, dls.valid):
        dl.dataset = [(x, F.one_hot(y, 4).float() * 0.8 + 0.05) for x, y in dl.dataset]
    kd = KnowledgeDistillationCallback(teacher, [tl.Term(tl.CELoss()), tl.Term(SoftTarget())])
    learn = learner(kd, dls=dls, loss_func=torch.nn.CrossEntropyLoss())
    learn.fit(1)
    assert dict(zip(learn.recorder.metric_names[1:], learn.recorder.values[-1], strict=False))[
        "ce_loss"
    ] == pytest.approx(learn.recorder.values[-1][1], rel=1e-5)


@pytest.mark.parametrize("make", MIXERS)
def test_validation_is_not_mixed_and_features_work(learner, teacher, make) -> None:
    kd = KnowledgeDistillationCallback(teacher, FitNet, "body", "body", projector="auto")
    learn = learner(kd, make())
    learn.fit(1)
    x, y = (torch.stack(c) for c in zip(*learn.dls.valid.dataset, strict=True))
    with torch.no_grad():
        expected = F.cross_entropy(learn.model.eval()(x), y).item()
    assert learn.recorder.values[-1][1] == pytest.approx(expected, rel=1e-5)
