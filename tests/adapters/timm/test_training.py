"""A short training as timm's ``train.py`` does it, and the parts of the interface that it uses."""

import copy

import pytest
import torch
from timm.optim import create_optimizer_v2, param_groups_layer_decay
from timm.scheduler import create_scheduler_v2
from timm.task import TrainingTask, load_task_ema_checkpoint, resume_task_checkpoint
from timm.utils import CheckpointSaver, NativeScaler, dispatch_clip_grad
from torch import nn

import tutelage as tl
from tutelage.adapters.timm import (
    FeatureDistillationTask,
    LogitDistillationTask,
    TokenDistillationTask,
)

DEIT = "deit_tiny_distilled_patch16_224"


def prepared(net, seed: int = 1):
    """Everything that timm's script makes before its loop, in its order."""
    task = FeatureDistillationTask(
        net("test_vit", seed=seed), net("test_resnet"), nn.CrossEntropyLoss(), verbose=False
    )
    optimizer = create_optimizer_v2(
        task.get_trainable_module(), opt="adamw", lr=1e-2, weight_decay=0.05, layer_decay=0.8
    )
    task.setup_ema(decay=0.5)
    scheduler, epochs = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=3, warmup_epochs=1, updates_per_epoch=2
    )
    return task, optimizer, scheduler, epochs


def tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def test_a_training_as_timm_does_it_moves_student_and_projector_and_not_the_teacher(
    net, tmp_path
) -> None:
    task, optimizer, scheduler, epochs = prepared(net)
    saver = CheckpointSaver(
        model=task.get_eval_model(), optimizer=optimizer, task=task, checkpoint_dir=str(tmp_path)
    )
    x, y = torch.randn(4, 4, 3, 32, 32), torch.randint(10, (4, 4))
    teacher, student = tensors(task.teacher.model), tensors(task.get_eval_model())
    projector = tensors(task._distiller.objective)
    losses = []
    for epoch in range(epochs):
        task.train()
        for update in range(2):
            optimizer.zero_grad()
            for half in range(2):  # two small batches to a step
                with task.no_sync():
                    result = task(x[2 * update + half], y[2 * update + half])
                (result["loss"] / 2).backward()
            dispatch_clip_grad(task.get_clip_parameters(exclude_head=True), value=5.0)
            optimizer.step()
            task.update_ema(step=epoch * 2 + update)
            losses.append(result["loss"].item())
            scheduler.step_update(num_updates=epoch * 2 + update)
        model = task.get_eval_model().eval()
        evaluator = task.create_evaluator()
        with torch.no_grad():
            for images, labels in zip(x, y, strict=True):
                evaluator.update(model(images), labels)
        metrics = evaluator.summary()
        scheduler.step(epoch + 1, metrics["top1"])
        saver.save_checkpoint(epoch, metric=metrics["top1"])
    assert losses[-1] < losses[0]
    assert metrics["top1"] > 50
    torch.testing.assert_close(tensors(task.teacher.model), teacher, rtol=0, atol=0)
    for before, after in (
        (student, tensors(task.get_eval_model())),
        (projector, tensors(task._distiller.objective)),
    ):
        assert all(not torch.equal(before[name], after[name]) for name in before)

    resumed, new_optimizer, *_ = prepared(net, seed=9)
    path = str(tmp_path / "last.pth.tar")
    assert resume_task_checkpoint(resumed, path, new_optimizer) == epochs
    load_task_ema_checkpoint(resumed, path)
    for ema in (False, True):
        mine, other = (t.get_trainable_module(ema=ema) for t in (task, resumed))
        assert len(tensors(mine)) > 10
        torch.testing.assert_close(tensors(other), tensors(mine), rtol=0, atol=0)
    step = task.train()(x[0], y[0]), resumed.train()(x[0], y[0])
    torch.testing.assert_close(*step)


def test_the_tasks_are_timms_and_load_into_a_plain_model(net) -> None:
    student = net(DEIT)
    for task in (
        LogitDistillationTask(net(), net("resnet10t"), nn.CrossEntropyLoss()),
        FeatureDistillationTask(net("test_vit"), net("test_resnet"), nn.CrossEntropyLoss()),
        TokenDistillationTask(student, net(), nn.CrossEntropyLoss()),
    ):
        assert isinstance(task, TrainingTask)
        saved = task.get_checkpoint_state()["state_dict"]
        copy.deepcopy(task.get_eval_model()).load_state_dict(saved, strict=True)
    net(DEIT).load_state_dict(saved, strict=True)


def test_the_average_has_projectors_and_the_teacher_stays_where_it_is(net, batch) -> None:
    task = FeatureDistillationTask(net("test_vit"), net("test_resnet"), nn.CrossEntropyLoss())
    assert not task.has_ema()
    assert task.get_checkpoint_state(ema=True) == {}
    ema = task.setup_ema(decay=0.5, dtype=torch.float64)
    assert all(p.dtype == torch.float64 for p in ema.parameters())
    assert task.teacher.model.fc.weight.dtype == torch.float32
    task.setup_ema(decay=0.5)
    start = tensors(task.get_trainable_module())
    with torch.no_grad():
        for parameter in task.get_trainable_module().parameters():
            parameter.add_(1.0)
    task.update_ema()
    averaged = tensors(task.get_trainable_module(ema=True).module)
    assert {f"distiller.{name}" for name in averaged} == start.keys()
    for name, average in averaged.items():
        torch.testing.assert_close(average, start[f"distiller.{name}"] + 0.5)
    saved = task.get_checkpoint_state(ema=True)
    assert set(saved) == {"state_dict_ema", "task_state_ema"}
    model = task.get_eval_model(ema=True)
    assert model is not task.get_eval_model()
    assert model(batch[0]).shape == (4, 10)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_student_its_projector_and_the_average_are_compiled_apart(net, batch) -> None:
    torch._dynamo.reset()
    task = FeatureDistillationTask(
        net("test_vit"), net("test_resnet"), nn.CrossEntropyLoss(), example=batch[0]
    )
    expected = task.get_eval_model().eval()(batch[0])
    compiled = task.compile(backend="eager")
    assert compiled is task.get_eval_model()
    task.setup_ema()
    assert task.compile_ema(backend="eager") is task.get_eval_model(ema=True)
    torch.testing.assert_close(compiled(batch[0]), expected)
    torch.testing.assert_close(task.get_eval_model(ema=True)(batch[0]), expected)
    task.train()(*batch)["loss"].backward()
    assert all(p.grad is not None for p in task.get_trainable_module().parameters())
    keys = task.get_checkpoint_state()["state_dict"].keys()
    assert keys == net("test_vit").state_dict().keys()
    assert task.get_checkpoint_state(ema=True)["state_dict_ema"].keys() == keys


def test_layer_decay_puts_the_projector_with_the_head(net) -> None:
    task = FeatureDistillationTask(net("test_vit"), net("test_resnet"), nn.CrossEntropyLoss())
    trainable = task.get_trainable_module()
    names = {id(p): name for name, p in trainable.named_parameters()}
    groups = param_groups_layer_decay(
        trainable, weight_decay=0.05, layer_decay=0.5, no_weight_decay_list=("head.weight",)
    )
    scale = {names[id(p)]: group["lr_scale"] for group in groups for p in group["params"]}
    assert scale["distiller.student.head.weight"] == 1.0
    assert scale["distiller.objective.terms.1.via.linear.weight"] == 1.0
    assert scale["distiller.student.patch_embed.proj.weight"] < 0.1
    alone = param_groups_layer_decay(task.get_eval_model(), weight_decay=0.05, layer_decay=0.5)
    expected = {id(p): group["lr_scale"] for group in alone for p in group["params"]}
    for name, parameter in task.get_eval_model().named_parameters():
        assert scale[f"distiller.student.{name}"] == expected[id(parameter)]


def test_the_students_no_weight_decay_is_forwarded(net) -> None:
    task = FeatureDistillationTask(net("test_vit"), net("test_resnet"), nn.CrossEntropyLoss())
    trainable, student = task.get_trainable_module(), task.get_eval_model()
    assert trainable.no_weight_decay() == {
        f"distiller.student.{name}" for name in student.no_weight_decay()
    }
    optimizer = create_optimizer_v2(trainable, opt="adamw", weight_decay=0.05)
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert decay[id(student.pos_embed)] == 0
    assert decay[id(student.head.weight)] == 0.05


def test_a_student_without_groups_is_numbered_by_order(net) -> None:
    student = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    student.append(nn.Linear(4, 10))
    config = tl.InputSpec(mean=(0.5,) * 3, std=(0.5,) * 3, size=32)
    task = FeatureDistillationTask(
        student, net("test_resnet"), nn.CrossEntropyLoss(), data_config=config
    )
    trainable = task.get_trainable_module()
    assert not hasattr(trainable, "group_matcher")
    assert trainable.no_weight_decay() == set()
    assert create_optimizer_v2(trainable, opt="sgd", lr=0.1, layer_decay=0.5).param_groups


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_mixed_precision_trains_as_in_timm(net, batch, dtype) -> None:
    task = FeatureDistillationTask(net("test_vit"), net("test_resnet"), nn.CrossEntropyLoss())
    optimizer = create_optimizer_v2(task.get_trainable_module(), opt="sgd", lr=0.1)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        loss = task.train()(*batch)["loss"]
    assert loss.dtype == torch.float32
    before = tensors(task._distiller.objective)
    NativeScaler(device="cpu")(
        loss, optimizer, clip_grad=1.0, parameters=task.get_clip_parameters()
    )
    after = tensors(task._distiller.objective)
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_our_own_distilled_transformer_is_a_student(batch) -> None:
    from tutelage.models import create

    student = create("distilled_vit", num_classes=10, size=(32, 32), in_channels=3)
    teacher = create("small_cnn", num_classes=10, in_channels=3, size=(32, 32))
    task = TokenDistillationTask(student, teacher, nn.CrossEntropyLoss(), distill_type="hard")
    result = task.train()(*batch)
    result["loss"].backward()
    assert student.head_dist.weight.grad.abs().max() > 0
    assert result["distill_loss"] > 0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda s, t: TokenDistillationTask(s, t), "expected a student with a distillation head"),
        (lambda s, t: LogitDistillationTask(s, t, loss_type="lk"), "unknown loss 'lk'; did you"),
        (lambda s, t: TokenDistillationTask(s, t, distill_type="x"), "expected one of soft, hard"),
        (lambda s, t: LogitDistillationTask(s, 3), "teacher_model: expected a model's name"),
        (lambda s, t: LogitDistillationTask(s, "resnet3000"), "unknown model"),
        (
            lambda s, t: LogitDistillationTask(
                s, t, nn.CrossEntropyLoss(), criterion_kwargs={"smoothing": 0.1}
            ),
            "found both",
        ),
        (
            lambda s, t: LogitDistillationTask(s, tl.FrozenTeacher(t), class_map=[0]),
            "class_map: goes with a name or a module",
        ),
        (
            lambda s, t: LogitDistillationTask(
                s, t, loss_type=[tl.Term(tl.KDLoss(), name="loss"), tl.KDLoss()]
            ),
            "which a step returns itself, found 'loss'",
        ),
        (
            lambda s, t: FeatureDistillationTask(s, t, student_layer="layer1"),
            "expected to know their widths",
        ),
        (
            lambda s, t: FeatureDistillationTask(
                s, t, student_layer="fc:in", layers=[("fc:in", "fc:in")]
            ),
            "either pairs in layers= or one",
        ),
        (
            lambda s, t: FeatureDistillationTask(s, tl.CallableTeacher(lambda x: x)),
            "expected a teacher whose layers can be read",
        ),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_built(net, make, match) -> None:
    with pytest.raises(tl.TutelageError, match=match) as error:
        make(net(), net("resnet10t"))
    assert error.value.exit_code == 2
