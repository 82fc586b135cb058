"""On equal settings our tasks compute what timm's own compute, in one process."""

import pytest
import timm.task
import torch
from torch import nn

from tutelage.adapters import timm as ours

WEIGHTS = [
    pytest.param({}, id="equal"),
    pytest.param({"task_loss_weight": 0.3}, id="complementary"),
    pytest.param({"task_loss_weight": 0.0}, id="teacher only"),
    pytest.param({"distill_loss_weight": 2.5}, id="independent"),
    pytest.param({"distill_loss_weight": 0.7, "task_loss_weight": 0.4}, id="both"),
]


def same_step(theirs, mine, batch, key: str) -> None:
    """Compare values, and the gradients of the student and, in their order, of projectors."""
    x, y = batch[0].double(), batch[1]
    results = []
    for task in (theirs, mine):
        task.train()
        result = task(x, y)
        result["loss"].backward()
        results.append(result)
    expected, found = results
    assert set(found) == set(expected) == {"loss", "output", "task_loss", key}
    for name, value in expected.items():
        torch.testing.assert_close(found[name].detach(), value.detach(), rtol=1e-6, atol=1e-9)
    gradients = [
        [p.grad for p in task.get_trainable_module().parameters()] for task in (theirs, mine)
    ]
    assert len(gradients[0]) == len(gradients[1])
    assert max(g.abs().max() for g in gradients[0] if g is not None) > 1e-3
    for theirs_, mine_ in zip(*gradients, strict=True):
        if theirs_ is None:  # a head that nothing trains: ours gives it zeros, which DDP needs
            assert mine_ is None or not mine_.any()
        else:
            torch.testing.assert_close(mine_, theirs_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_logit_task_has_timms_values_and_gradients(twins, batch, weights, temperature) -> None:
    one, other = twins("test_resnet", "resnet10t")
    options = {"temperature": temperature, "verbose": False, **weights}
    theirs = timm.task.LogitDistillationTask(*one, nn.CrossEntropyLoss(), **options)
    mine = ours.LogitDistillationTask(*other, nn.CrossEntropyLoss(), **options)
    same_step(theirs, mine, batch, "kd_loss")


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ("test_resnet", "resnet10t"),
        ("test_vit", "test_resnet"),
        ("test_convnext", "test_vit"),
        ("test_vit", "test_vit"),
        ("test_efficientnet", "levit_128s"),
    ],
)
def test_the_feature_task_has_timms_values_and_gradients(
    twins, batch, weights, student, teacher
) -> None:
    one, other = twins(student, teacher)
    tasks = []
    for kind, pair in ((timm.task, one), (ours, other)):
        torch.manual_seed(3)  # both draw the projector's weights in one way
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        task = kind.FeatureDistillationTask(*pair, nn.CrossEntropyLoss(), verbose=False, **weights)
        torch.set_default_dtype(default)
        tasks.append(task)
    same_step(*tasks, batch, "kd_loss")


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_the_token_task_has_timms_values_and_gradients(twins, batch, weights, kind) -> None:
    one, other = twins("deit_tiny_distilled_patch16_224", "test_resnet")
    options = {"distill_type": kind, "temperature": 3.0, "verbose": False, **weights}
    theirs = timm.task.TokenDistillationTask(*one, nn.CrossEntropyLoss(), **options)
    mine = ours.TokenDistillationTask(*other, nn.CrossEntropyLoss(), **options)
    same_step(theirs, mine, batch, "distill_loss")


def test_the_criterion_made_from_options_is_timms(twins, batch) -> None:
    one, other = twins("test_resnet", "resnet10t")
    options = {"criterion_kwargs": {"smoothing": 0.1}, "verbose": False}
    theirs = timm.task.LogitDistillationTask(*one, **options)
    mine = ours.LogitDistillationTask(*other, **options)
    same_step(theirs, mine, batch, "kd_loss")


def test_soft_targets_of_mixup_give_timms_values(twins, batch) -> None:
    one, other = twins("test_resnet", "resnet10t")
    soft = torch.rand(4, 10, dtype=torch.float64).softmax(-1)
    criterion = timm.loss.SoftTargetCrossEntropy()
    theirs = timm.task.LogitDistillationTask(*one, criterion, verbose=False)
    mine = ours.LogitDistillationTask(*other, criterion, verbose=False)
    same_step(theirs, mine, (batch[0], soft), "kd_loss")


def test_images_are_converted_between_the_two_normalisations_as_timm_does(twins, batch) -> None:
    one, other = twins("test_resnet", "resnet10t")
    for _, teacher in (one, other):
        teacher.pretrained_cfg.update(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    theirs = timm.task.LogitDistillationTask(*one, nn.CrossEntropyLoss(), verbose=False)
    mine = ours.LogitDistillationTask(*other, nn.CrossEntropyLoss(), verbose=False)
    for task in (theirs, mine):
        task.double()
    same_step(theirs, mine, batch, "kd_loss")


def test_a_teacher_that_timm_wrapped_is_taken_as_it_is(twins, batch) -> None:
    one, other = twins("test_resnet", "resnet10t")
    tasks = []
    for kind, (student, teacher) in ((timm.task, one), (ours, other)):
        wrapped = timm.task.DistillationTeacher(teacher, dtype=torch.float64)
        wrapped.mean_kd.fill_(0.25)
        tasks.append(
            kind.LogitDistillationTask(
                student, wrapped, nn.CrossEntropyLoss(), dtype=torch.float64, verbose=False
            )
        )
    same_step(*tasks, batch, "kd_loss")
