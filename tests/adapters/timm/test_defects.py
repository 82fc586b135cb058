"""What went wrong in timm's own tasks, one test or two for each, and does not here."""

import copy

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2
from torch import nn

import tutelage as tl
from tutelage.adapters.timm import (
    FeatureDistillationTask,
    LogitDistillationTask,
    TokenDistillationTask,
)
from tutelage.errors import InputError, ShapeError, TeacherError
from tutelage.teachers import WritingTeacher

DEIT = "deit_tiny_distilled_patch16_224"


def step(task, optimizer, batch) -> None:
    optimizer.zero_grad()
    task(*batch)["loss"].backward()
    optimizer.step()


def projector(task) -> nn.Parameter:
    (weight, _) = task._distiller.objective.parameters()
    return weight


class Own(nn.Module):
    """A student that knows nothing of timm: no num_classes, in_chans or pretrained_cfg."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.out = nn.Linear(8, classes)

    def forward(self, x):
        return self.out(self.conv(x).mean((2, 3)))


def test_the_projector_is_trained_by_an_optimiser_of_the_trainable_module(net, batch) -> None:
    task = FeatureDistillationTask(net("test_vit"), net("test_resnet"), nn.CrossEntropyLoss())
    optimizer = create_optimizer_v2(task.get_trainable_module(), opt="sgd", lr=0.1)
    before = projector(task).detach().clone()
    for _ in range(2):
        step(task, optimizer, batch)
        assert projector(task).grad.abs().max() > 0
    assert not torch.equal(projector(task), before)
    assert any(p is projector(task) for group in optimizer.param_groups for p in group["params"])


def test_an_optimiser_without_the_projector_is_reported(net, batch) -> None:
    student = net("test_vit")
    optimizer = create_optimizer_v2(student, opt="sgd", lr=0.1)  # before the task, as timm did
    task = FeatureDistillationTask(student, net("test_resnet"), nn.CrossEntropyLoss())
    step(task, optimizer, batch)
    with pytest.raises(InputError, match=r"moved the student alone; build it from task.get_train"):
        step(task, optimizer, batch)


def test_resuming_keeps_the_projector(net, batch) -> None:
    first, second = (
        FeatureDistillationTask(net("test_vit", seed=s), net("test_resnet"), nn.CrossEntropyLoss())
        for s in (1, 2)
    )
    saved = first.get_checkpoint_state()
    second.load_checkpoint_state(saved["state_dict"], saved["task_state"])
    torch.testing.assert_close(projector(second), projector(first))
    with pytest.raises(InputError, match=r"projectors' parameters .*start them anew"):
        second.load_checkpoint_state(saved["state_dict"])


@pytest.mark.parametrize(
    "state",
    [
        {"projektor": {}},
        {"objective": {"projector.weight": torch.zeros(1)}},
        {"objective": {"objective.more": torch.zeros(1)}},
    ],
)
def test_a_state_of_unknown_keys_is_refused_unless_allowed(net, state) -> None:
    task = LogitDistillationTask(net(), net(seed=1), nn.CrossEntropyLoss())
    with pytest.raises(InputError, match=r"checkpoint: expected .* found .*(proje|more)") as error:
        task.load_task_state(state)
    assert error.value.exit_code == 2
    task.load_task_state(state, strict=False)


@pytest.mark.parametrize("strict", [True, False])
def test_a_state_of_other_layers_is_refused_with_advice(net, strict) -> None:
    wide, narrow = (
        FeatureDistillationTask(net("test_vit"), net(name), nn.CrossEntropyLoss())
        for name in ("resnet10t", "test_resnet")
    )
    with pytest.raises(InputError, match=r"layers and losses, found another.*build the task"):
        narrow.load_task_state(wide.get_task_state(), strict=strict)


@pytest.mark.parametrize("kind", [LogitDistillationTask, FeatureDistillationTask])
def test_training_mode_does_not_reach_the_teacher_or_its_statistics(net, batch, kind) -> None:
    teacher = net("test_resnet", seed=1)
    statistics = copy.deepcopy(dict(teacher.named_buffers()))
    task = kind(net(), teacher, nn.CrossEntropyLoss()).train()
    task(*batch)["loss"].backward()
    assert not any(module.training for module in teacher.modules())
    teacher.train()  # even by its own hand
    task(*batch)
    assert not teacher.training
    torch.testing.assert_close(dict(teacher.named_buffers()), statistics, rtol=0, atol=0)


def test_a_teacher_by_name_with_other_classes_is_refused(net) -> None:
    with pytest.raises(
        InputError, match=r"expected pretrained weights for 10 classes, found .* 1000"
    ):
        LogitDistillationTask(net(), "resnet18", nn.CrossEntropyLoss())


def test_a_weight_file_with_other_classes_is_refused_or_mapped(net, batch, tmp_path) -> None:
    path, teacher = tmp_path / "teacher.pth", net("test_resnet", num_classes=12)
    torch.save(teacher.state_dict(), path)
    options = {"teacher_pretrained_path": path}
    with pytest.raises(InputError, match="expected a classifier for 10 classes, found one for 12"):
        LogitDistillationTask(net(), "test_resnet", nn.CrossEntropyLoss(), **options)
    mapped = LogitDistillationTask(
        net(),
        "test_resnet",
        nn.CrossEntropyLoss(),
        **options,
        teacher_num_classes=12,
        class_map=range(2, 12),
    )
    found = mapped.teacher(batch[0]).logits
    torch.testing.assert_close(found, teacher.eval()(batch[0])[:, 2:])


def test_the_features_of_a_teacher_by_name_need_none_of_the_students_classes(
    net, monkeypatch
) -> None:
    made, create = [], timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *a, **k: made.append(k) or create(*a, **k | dict(pretrained=0))
    )
    FeatureDistillationTask(net(), "resnet10t", nn.CrossEntropyLoss())
    assert made[-1]["num_classes"] == 1000
    assert made[-1]["pretrained"]


@pytest.mark.parametrize("kind", [LogitDistillationTask, FeatureDistillationTask])
def test_a_student_without_anything_of_timm_is_distilled(net, batch, kind) -> None:
    stated = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 32, 32)}
    task = kind(Own(), net("test_resnet"), nn.CrossEntropyLoss(), data_config=stated)
    result = task(*batch)
    result["loss"].backward()
    assert result["kd_loss"] > 0
    assert all(p.grad is not None for p in task.get_trainable_module().parameters())


def test_a_student_and_teacher_of_torchvision_are_distilled_by_features(batch) -> None:
    models = pytest.importorskip("torchvision.models")
    student, teacher = models.resnet18(num_classes=10), models.resnet34(num_classes=10)
    task = FeatureDistillationTask(
        student,
        teacher,
        nn.CrossEntropyLoss(),
        student_layer="layer3",
        teacher_layer="layer3",
        example=batch[0],
    )
    assert task(*batch)["kd_loss"] > 0
    task = FeatureDistillationTask(student, Own(), nn.CrossEntropyLoss())
    assert projector(task).shape == (8, 512)


def test_unknown_statistics_of_the_loader_are_refused_where_they_matter(net) -> None:
    with pytest.raises(TeacherError, match="loader's are not known; pass data_config="):
        LogitDistillationTask(Own(), net("test_resnet"), nn.CrossEntropyLoss())


def test_the_teachers_images_come_from_the_loaders_statistics(net, batch) -> None:
    student, teacher = net(), net("resnet10t")
    config = timm.data.resolve_data_config(
        {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "input_size": (3, 32, 32)}, model=student
    )
    seen = []
    teacher.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    task = LogitDistillationTask(student, teacher, nn.CrossEntropyLoss(), data_config=config)
    task(*batch)
    per_channel = lambda values: torch.tensor(values).view(1, 3, 1, 1)  # noqa: E731
    pixels = batch[0] * per_channel((0.4, 0.5, 0.6)) + per_channel((0.1, 0.2, 0.3))
    mean, std = (per_channel(teacher.pretrained_cfg[key]) for key in ("mean", "std"))
    assert student.pretrained_cfg["mean"] != config["mean"]
    torch.testing.assert_close(seen[-1], (pixels - mean) / std)


def test_no_step_compares_tensors(net, batch, monkeypatch) -> None:
    task = LogitDistillationTask(net(), net("resnet10t"), nn.CrossEntropyLoss())
    task(*batch)  # the first batch is looked at
    monkeypatch.setattr(torch, "equal", lambda *_: pytest.fail("compared in a step"))
    monkeypatch.setattr(torch.Tensor, "item", lambda _: pytest.fail("waited for the device"))
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda _: pytest.fail("waited for the device"))
    task(*batch)["loss"].backward()


@pytest.mark.parametrize("kind", [LogitDistillationTask, FeatureDistillationTask])
def test_the_whole_step_compiles_into_one_graph(net, batch, kind) -> None:
    torch._dynamo.reset()
    config = {"input_size": (3, 32, 32)}
    task = kind(net("test_vit"), net("resnet10t"), nn.CrossEntropyLoss(), data_config=config)
    expected = task(*batch)
    task.compile(backend="eager", fullgraph=True)
    found = task(*batch)
    found["loss"].backward()
    torch.testing.assert_close(found["loss"], expected["loss"])
    torch.testing.assert_close(found["kd_loss"], expected["kd_loss"])


@pytest.mark.parametrize("kind", [LogitDistillationTask, FeatureDistillationTask])
def test_the_teacher_is_frozen_and_in_no_parameters_or_state(net, kind) -> None:
    teacher = net("test_resnet", seed=1)
    task = kind(net(), teacher, nn.CrossEntropyLoss())
    assert not any(p.requires_grad for p in teacher.parameters())
    of_teacher = {id(t) for t in (*teacher.parameters(), *teacher.buffers())}
    assert not of_teacher & {id(t) for t in (*task.parameters(), *task.buffers())}
    assert all(module is not teacher for module in task.modules())
    size = sum(p.numel() for p in task.get_eval_model().state_dict().values())
    assert sum(v.numel() for v in task.get_checkpoint_state()["state_dict"].values()) == size
    task.close()
    assert all(p.requires_grad for p in teacher.parameters())


def test_the_token_task_works_in_eval_mode(net, batch) -> None:
    student = net(DEIT)
    task = TokenDistillationTask(student, net(), nn.CrossEntropyLoss()).eval()
    with torch.no_grad():
        result = task(*batch)
        average = student(batch[0])
    torch.testing.assert_close(result["output"], average)
    expected = tl.KDLoss(temperature=1.0)(average, task.teacher(batch[0]).logits)
    torch.testing.assert_close(result["distill_loss"], expected)


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)

    def forward(self, x):
        return self.conv(x)


def test_dense_logits_must_state_their_class_axis(batch) -> None:
    x, y = batch[0], torch.randint(5, (4, 30, 30))
    student, teacher = Dense(), Dense()
    with pytest.raises(ShapeError, match="class axis of dense logits"):
        LogitDistillationTask(student, teacher, nn.CrossEntropyLoss(), example=x)
    task = LogitDistillationTask(student, teacher, nn.CrossEntropyLoss(), class_axis=1)
    result = task(x, y)
    q, p = (m(x).movedim(1, -1).log_softmax(-1) for m in (student, teacher))
    torch.testing.assert_close(result["kd_loss"], (p.exp() * (p - q)).sum(-1).mean().detach())
    torch.testing.assert_close(result["task_loss"], nn.functional.cross_entropy(student(x), y))


@pytest.mark.parametrize(
    "criterion",
    [
        timm.loss.SoftTargetCrossEntropy(),
        nn.BCEWithLogitsLoss(),
        timm.loss.AsymmetricLossMultiLabel(),
    ],
)
@pytest.mark.parametrize("kind", [LogitDistillationTask, FeatureDistillationTask])
def test_a_criterion_of_other_targets_than_labels_is_not_tried_with_labels(
    net, batch, kind, criterion
) -> None:
    config = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.5,) * 3}
    task = kind(net(), net("resnet10t", seed=1), criterion, data_config=config)
    target = nn.functional.one_hot(batch[1], 10).float()
    out = task(batch[0], target)
    torch.testing.assert_close(out["task_loss"], criterion(out["output"].detach(), target))


@pytest.mark.parametrize("classes", [(10, 1), (1, 1)])
def test_a_teacher_of_one_logit_is_refused(batch, classes) -> None:
    student, teacher = map(Own, classes)
    with pytest.raises(ShapeError, match="class"):
        LogitDistillationTask(student, teacher, nn.CrossEntropyLoss(), example=batch[0])


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("kind", [LogitDistillationTask, TokenDistillationTask])
def test_a_temperature_of_zero_is_refused(net, kind, temperature) -> None:
    with pytest.raises(InputError, match="temperature: expected a finite number above 0"):
        kind(net(DEIT), net(), nn.CrossEntropyLoss(), temperature=temperature)


@pytest.mark.parametrize(
    ("weights", "match"),
    [
        ({"task_loss_weight": 1.7}, "expected a number from 0 to 1, found 1.7"),
        ({"task_loss_weight": -0.1}, "expected a number from 0 to 1"),
        ({"distill_loss_weight": -1.0}, "distill_loss_weight: expected .* at least 0"),
        ({"distill_loss_weight": 1.0, "task_loss_weight": float("nan")}, "task_loss_weight"),
    ],
)
def test_weights_out_of_range_are_refused(net, weights, match) -> None:
    with pytest.raises(InputError, match=match):
        LogitDistillationTask(net(), net("resnet10t"), nn.CrossEntropyLoss(), **weights)


def test_the_student_runs_once_through_its_own_forward(net, batch) -> None:
    student = net("test_vit")
    calls = {"student": 0, "head": 0}
    for name, module in (("student", student), ("head", student.head)):
        module.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    task = FeatureDistillationTask(student, net("test_resnet"), nn.CrossEntropyLoss())
    task(*batch)
    assert calls == {"student": 1, "head": 1}


def test_dropout_before_the_head_is_drawn_once_for_logits_and_features(net, batch) -> None:
    student = net("test_resnet", drop_rate=0.5)
    seen = []
    student.fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    task = FeatureDistillationTask(student, net(seed=2), nn.CrossEntropyLoss()).train()
    result = task(*batch)
    (feature,) = seen
    torch.testing.assert_close(student.fc(feature), result["output"])
    teacher = task.teacher.model
    pooled = teacher.forward_head(teacher.forward_features(batch[0]), pre_logits=True)
    expected = (feature - pooled).square().mean()
    torch.testing.assert_close(result["kd_loss"], expected.detach())


def test_a_grey_student_learns_from_a_teacher_of_colour(net, tmp_path) -> None:
    teacher = net("resnet10t")
    torch.save(teacher.state_dict(), tmp_path / "teacher.pth")
    config = {"mean": (0.3,), "std": (0.2,), "input_size": (1, 32, 32)}
    task = LogitDistillationTask(
        net(in_chans=1),
        "resnet10t",
        nn.CrossEntropyLoss(),
        teacher_pretrained_path=tmp_path / "teacher.pth",
        data_config=config,
    )
    x = torch.randn(2, 1, 32, 32)
    mean, std = (
        torch.tensor(teacher.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std")
    )
    expected = teacher.eval()((x * 0.2 + 0.3 - mean) / std)
    torch.testing.assert_close(task.teacher(x).logits, expected)


def test_grey_models_of_differing_normalisation_are_refused_or_converted(net) -> None:
    student, teacher = net(in_chans=1), net("resnet10t", in_chans=1)
    with pytest.raises(TeacherError, match="one mean and std for each of 1 channels, found 3"):
        LogitDistillationTask(student, teacher, nn.CrossEntropyLoss())
    stated = tl.FrozenTeacher(
        teacher,
        inputs=tl.InputSpec(mean=(0.4,), std=(0.2,)),
        given=tl.InputSpec(mean=(0.5,), std=(0.5,)),
    )
    task = LogitDistillationTask(student, stated, nn.CrossEntropyLoss())
    x = torch.randn(2, 1, 32, 32)
    assert task(x, torch.zeros(2, dtype=torch.long))["output"].shape == (2, 10)
    torch.testing.assert_close(task.teacher(x).logits, teacher((x * 0.5 + 0.1) / 0.2))


def test_a_teacher_of_one_size_gets_its_size(net, batch) -> None:
    teacher = net("test_vit", img_size=48, dynamic_img_size=False)
    seen = []
    teacher.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    task = LogitDistillationTask(net(), teacher, nn.CrossEntropyLoss())
    task(*batch)["loss"].backward()
    assert seen == [(4, 3, 48, 48)]


def test_a_teacher_in_another_precision_than_the_images_works(net, batch) -> None:
    teacher = net("test_vit").bfloat16()
    task = FeatureDistillationTask(net(), teacher, nn.CrossEntropyLoss())
    result = task(*batch)
    result["loss"].backward()
    assert result["loss"].dtype == torch.float32
    assert teacher.head.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("move", ["half", "double", "to"])
def test_every_way_to_move_a_task_is_tracked(net, move) -> None:
    task = FeatureDistillationTask(net("test_vit"), net("test_resnet"), nn.CrossEntropyLoss())
    (task.to(torch.bfloat16) if move == "to" else getattr(task, move)())
    dtype = {"half": torch.float16, "double": torch.float64, "to": torch.bfloat16}[move]
    assert task.dtype == dtype
    assert task.device == torch.device("cpu")
    assert projector(task).dtype == task.teacher.model.fc.weight.dtype == dtype
    task.to("meta")
    assert task.device.type == "meta"
    assert task.dtype == dtype
    assert projector(task).is_meta
    assert task.teacher.model.fc.weight.is_meta


def test_clipping_without_the_head_leaves_out_both_heads_of_deit(net) -> None:
    student = net(DEIT)
    task = TokenDistillationTask(student, net(), nn.CrossEntropyLoss())
    heads = {id(p) for head in (student.head, student.head_dist) for p in head.parameters()}
    kept = {id(p) for p in task.get_clip_parameters(exclude_head=True)}
    assert len(heads) == 4
    assert kept == {id(p) for p in student.parameters()} - heads
    assert {id(p) for p in task.get_clip_parameters()} == {id(p) for p in student.parameters()}


def test_clipping_without_the_head_keeps_the_projector(net) -> None:
    student = net("test_vit")
    task = FeatureDistillationTask(student, net(), nn.CrossEntropyLoss())
    kept = {id(p) for p in task.get_clip_parameters(exclude_head=True)}
    assert id(projector(task)) in kept
    assert id(student.head.weight) not in kept


def test_several_teachers_teach_by_their_mean_and_by_features_of_each(net, batch) -> None:
    teachers = {"a": net("test_resnet", seed=1), "b": net("resnet10t", seed=2)}
    task = LogitDistillationTask(net("test_vit"), teachers, nn.CrossEntropyLoss())
    assert isinstance(task.teacher, tl.EnsembleTeacher)
    a, b = (task.teacher.members[k](batch[0]).logits.softmax(-1) for k in "ab")
    found = task.teacher(batch[0]).logits.softmax(-1)
    torch.testing.assert_close(found, (a + b) / 2)
    assert task(*batch)["kd_loss"] > 0
    task = FeatureDistillationTask(net("test_vit"), list(teachers.values()), nn.CrossEntropyLoss())
    result = task(*batch)
    assert {"head:in->0/fc:in", "head:in->1/fc:in"} < set(result)
    parts = result["head:in->0/fc:in"] + result["head:in->1/fc:in"]
    torch.testing.assert_close(result["kd_loss"], parts)
    torch.testing.assert_close(result["loss"].detach(), result["task_loss"] + parts)


def test_intermediate_and_pooled_features_are_compared(net, batch) -> None:
    task = FeatureDistillationTask(
        net(seed=1),
        net("resnet10t"),
        nn.CrossEntropyLoss(),
        layers=[("layer2", "layer2"), ("layer3:pooled", "layer3:pooled")],
        example=batch[0],
    )
    result = task(*batch)
    result["loss"].backward()
    assert {"layer2->layer2", "layer3:pooled->layer3:pooled"} < set(result)
    assert all(p.grad is not None for p in task._distiller.objective.parameters())


@pytest.mark.parametrize("loss", ["dkd", tl.DISTLoss(), nn.functional.mse_loss])
def test_any_loss_stands_in_the_place_of_kl(net, batch, loss) -> None:
    task = LogitDistillationTask(
        net(), net("resnet10t"), nn.CrossEntropyLoss(), loss_type=loss, temperature=2.0
    )
    result = task(*batch)
    student, teacher = result["output"], task.teacher(batch[0]).logits
    fun = tl.DKDLoss(temperature=2.0) if loss == "dkd" else loss
    expected = (
        fun(student, teacher, batch[1]) if isinstance(fun, tl.Loss) else fun(student, teacher)
    )
    torch.testing.assert_close(result["kd_loss"], expected.detach())


def test_terms_bring_their_own_weights(net, batch) -> None:
    terms = [
        tl.Term(tl.KDLoss(temperature=2.0), 0.5),
        tl.Term(tl.ATLoss(), 10.0, at=("layer2", "layer2")),
    ]
    task = LogitDistillationTask(
        net(), net("resnet10t"), nn.CrossEntropyLoss(), loss_type=terms, task_loss_weight=0.25
    )
    result = task(*batch)
    kd = 0.5 * result["kd"] + 10.0 * result["at"]
    torch.testing.assert_close(result["kd_loss"], kd)
    torch.testing.assert_close(result["loss"].detach(), 0.25 * result["task_loss"] + kd)
    with pytest.raises(InputError, match="beside terms, which have weights of their own"):
        LogitDistillationTask(net(), net(), loss_type=terms, distill_loss_weight=1.0)


def test_a_cached_teacher_answers_by_the_samples_ids(net, batch, tmp_path) -> None:
    live, ids = tl.FrozenTeacher(net("resnet10t")), torch.tensor([3, 5, 8, 9])
    with WritingTeacher(live, tmp_path, ids=ids.numpy(), identity={}) as writing:
        writing.provide([])
        writing(batch[0], ids)
    cached = tl.CachedTeacher(tmp_path)
    tasks = [
        LogitDistillationTask(copy.deepcopy(net()), teacher, nn.CrossEntropyLoss())
        for teacher in (live, cached)
    ]
    found = [task(*batch, ids) for task in tasks]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    with pytest.raises(tl.TutelageError, match="ids"):
        tasks[1](*batch)


def test_weights_and_temperature_follow_schedules_also_when_compiled(net, batch) -> None:
    torch._dynamo.reset()
    task = LogitDistillationTask(
        net(),
        net("resnet10t"),
        nn.CrossEntropyLoss(),
        distill_loss_weight=lambda step: 1.0 / (1 + step),
        temperature=lambda step: 1.0 + step,
        example=batch[0],
    ).train()
    task.compile(backend="eager", fullgraph=True)
    for number in range(3):
        result = task(*batch)
        total = result["task_loss"] + result["kd_loss"] / (1 + number)
        torch.testing.assert_close(result["loss"].detach(), total)
    task.set_step(0)
    result = task(*batch)
    torch.testing.assert_close(result["loss"].detach(), result["task_loss"] + result["kd_loss"])
