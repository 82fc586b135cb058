import copy

import pytest
import torch
from torch import nn

pytest.importorskip("fastai", reason="fastai is not installed")

from fastai.callback.core import Callback
from fastai.callback.tracker import SaveModelCallback
from fastai.callback.training import GradientAccumulation

import tutelage as tl
from tutelage.adapters.fastai import (
    DecoupledKD,
    FitNet,
    KnowledgeDistillationCallback,
    SoftTarget,
    lin,
    one_shot,
)
from tutelage.errors import InputError, TapError, TeacherError


def first_batch(learn) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = learn.dls.train.one_batch()
    return x, y


class Watch(Callback):
    """Keep the gradients and losses of each training batch."""

    order = 40
    run_valid = False

    def __init__(self) -> None:
        self.gradients: list[dict[str, torch.Tensor]] = []
        self.seen: list[float] = []

    def after_backward(self) -> None:
        self.gradients.append({n: p.grad.clone() for n, p in self.learn.model.named_parameters()})
        self.seen.append(self.learn.loss.detach().item())


@pytest.mark.parametrize(("mixing", "task_weight"), [("lerp", 0.3), ("independent", 1.0)])
def test_loss_and_gradient_are_the_mixture_of_both(
    learner, teacher, net, mixing, task_weight
) -> None:
    student = net(4, seed=2)
    reference, watch = copy.deepcopy(student), Watch()
    kd = KnowledgeDistillationCallback(teacher, SoftTarget(T=3), weight=0.7, mixing=mixing)
    learn = learner(kd, watch, model=student)
    x, y = first_batch(learn)
    learn.fit(1)
    output = reference(x)
    task = nn.functional.cross_entropy(output, y)
    loss = task_weight * task + 0.7 * tl.KDLoss(temperature=3.0)(output, teacher(x))
    loss.backward()
    assert watch.seen[0] == pytest.approx(loss.item(), abs=1e-6)
    for name, parameter in reference.named_parameters():
        found = watch.gradients[0][f"distiller.student.{name}"]
        torch.testing.assert_close(found, parameter.grad, rtol=1e-5, atol=1e-7)


def test_teacher_gets_no_gradient_and_does_not_move(learner, net) -> None:
    teacher = net(6, seed=1, norm=True)
    teacher.train()
    before = copy.deepcopy(teacher.state_dict())
    kd = KnowledgeDistillationCallback(teacher, FitNet, "body", "body", projector="auto")
    watch = Callback(after_backward=lambda self: states.append(teacher.training))
    states: list[bool] = []
    learner(kd, watch).fit(1)
    assert states == [False, False]
    assert all(parameter.grad is None for parameter in teacher.parameters())
    torch.testing.assert_close(dict(teacher.state_dict()), dict(before), rtol=0, atol=0)
    # Given back as it was: the module is the user's.
    assert teacher.training
    assert all(parameter.requires_grad for parameter in teacher.parameters())


def test_validation_loss_is_the_plain_task_loss_and_the_terms_have_columns(
    learner, teacher
) -> None:
    kd = KnowledgeDistillationCallback(teacher, SoftTarget(T=3), weight=0.9, schedule=lin)
    learn = learner(kd)
    learn.fit(2)
    assert learn.recorder.metric_names[:4] == ["epoch", "train_loss", "valid_loss", "kd_loss"]
    x, y = (torch.stack(c) for c in zip(*learn.dls.valid.dataset, strict=True))
    student = learn.model.eval()
    with torch.no_grad():
        task = nn.functional.cross_entropy(student(x), y).item()
        kd_value = tl.KDLoss(temperature=3.0)(student(x), teacher(x)).item()
    _, valid, shown = learn.recorder.values[-1]
    assert valid == pytest.approx(task, rel=1e-5)
    assert shown == pytest.approx(kd_value, rel=1e-5)
    assert list(learn.validate()) == pytest.approx([task], rel=1e-5)


def test_columns_can_be_left_out_and_then_validation_asks_no_teacher(learner, teacher) -> None:
    kd = KnowledgeDistillationCallback(teacher, SoftTarget, metrics=False)
    learn = learner(kd)
    learn.fit(1)
    assert list(learn.recorder.metric_names[1:3]) == ["train_loss", "valid_loss"]
    assert teacher.calls == 1 + 2  # one to try it out, two batches


@pytest.mark.parametrize("loss", [SoftTarget, DecoupledKD])
@pytest.mark.parametrize("labelled", [True, False])
def test_predictions_before_and_after_a_fit_never_touch_the_teacher(
    learner, teacher, loss, labelled
) -> None:
    learn = learner(KnowledgeDistillationCallback(teacher, loss))
    x = [x for x, _ in learn.dls.valid.dataset]
    dl = learn.dls.valid if labelled else _without_labels(learn, x)
    for fitted in (False, True):
        if fitted:
            learn.fit(1)
        teacher.calls = 0
        predictions, targets = learn.get_preds(dl=dl)
        assert teacher.calls == 0
        assert (targets is not None) == labelled or not labelled
        with torch.no_grad():
            torch.testing.assert_close(
                predictions, learn.model.eval()(torch.stack(x)).softmax(-1), rtol=1e-5, atol=1e-6
            )
        learn.validate()
        learn.get_preds(dl=dl, inner=True)
        assert teacher.calls == 0


def test_predictions_within_a_fit_do_not_touch_the_teacher_either(learner, teacher) -> None:
    calls = []

    def ask(self) -> None:
        before = teacher.calls
        self.learn.get_preds(inner=True)
        self.learn.get_preds()
        calls.append(teacher.calls - before)

    kd = KnowledgeDistillationCallback(teacher, SoftTarget)
    learner(kd, Callback(after_train=ask)).fit(2)
    assert calls == [0, 0]


def test_hooks_are_gone_after_a_fit_and_back_in_the_next(learner, teacher, hooks) -> None:
    during = []
    kd = KnowledgeDistillationCallback(teacher, FitNet, "body", "body", projector="auto")
    count = Callback(after_batch=lambda self: during.append(hooks(teacher)))
    learn = learner(kd, count)
    for _ in range(2):
        learn.fit(1)
        assert hooks(learn.model) == hooks(teacher) == 0
    assert len(set(during)) == 1
    assert during[0] > 0


@pytest.mark.parametrize("at", ["before_fit", "before_epoch", "after_pred", "after_fit"])
@pytest.mark.parametrize("given_to_fit", [True, False])
def test_hooks_are_gone_after_an_exception_and_the_next_fit_works(
    learner, teacher, hooks, at, given_to_fit
) -> None:
    class Fails(Callback):
        order = 70

    def fail() -> None:
        raise KeyError("a callback of the user's")

    fails = Fails()
    setattr(fails, at, fail)
    kd = KnowledgeDistillationCallback(teacher, FitNet, "body", "body", projector="auto")
    learn = learner(*([] if given_to_fit else [kd]))
    student = learn.model
    for _ in range(2):
        with pytest.raises(KeyError):
            learn.fit(1, cbs=[kd, fails] if given_to_fit else [fails])
        assert learn.model is student
        assert hooks(student) == hooks(teacher) == 0
        assert all(parameter.requires_grad for parameter in teacher.parameters())
        assert list(learn.metrics) == []
        assert len(learn.opt.param_lists[0]) == len(list(student.parameters()))
    learn.fit(1, cbs=[kd] if given_to_fit else [])
    assert learn.recorder.metric_names[3] == "hint_loss"


def test_a_callback_given_to_fit_serves_that_fit_alone(learner, teacher) -> None:
    learn = learner()
    learn.fit(1, cbs=KnowledgeDistillationCallback(teacher, SoftTarget))
    assert learn.recorder.metric_names[3] == "kd_loss"
    teacher.calls = 0
    learn.fit(1)
    assert learn.recorder.metric_names[3] == "time"
    assert teacher.calls == 0


def test_several_inputs_reach_the_teacher_whole(learner, loaders) -> None:
    class Two(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            torch.manual_seed(seed)
            self.head = nn.Linear(3, 4)

        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return self.head((a - 2 * b).mean((2, 3)))

    teacher, watch = Two(seed=1), Watch()
    kd = KnowledgeDistillationCallback(teacher, SoftTarget, weight=1.0)
    learn = learner(kd, watch, model=Two(seed=2), dls=loaders(inputs=2))
    start = copy.deepcopy(learn.model)
    a, b, _ = learn.dls.train.one_batch()
    learn.fit(1)
    expected = tl.KDLoss(temperature=5.0)(start(a, b), teacher(a, b))
    assert watch.seen[0] == pytest.approx(expected.item(), rel=1e-5)


def test_labels_reach_the_losses_that_read_them(learner, teacher) -> None:
    watch = Watch()
    kd = KnowledgeDistillationCallback(teacher, DecoupledKD(T=2), weight=1.0)
    learn = learner(kd, watch)
    start = copy.deepcopy(learn.model)
    x, y = first_batch(learn)
    learn.fit(1)
    expected = tl.DKDLoss(temperature=2.0)(start(x), teacher(x), y)
    assert watch.seen[0] == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.filterwarnings("ignore:numpy.core is deprecated")  # fastai's load asks for it
def test_a_checkpoint_and_an_export_hold_the_student_alone(learner, teacher, tmp_path) -> None:
    kd = KnowledgeDistillationCallback(teacher, FitNet, "body", "body", projector="auto")
    learn = learner(kd)
    keys = list(learn.model.state_dict())
    learn.fit(2, cbs=SaveModelCallback(monitor="hint_loss", fname="best"))
    saved = torch.load(tmp_path / "models" / "best.pth", weights_only=True)
    assert list(saved) == keys
    assert not {id(p) for p in learn.opt.param_lists[0]} & {id(p) for p in teacher.parameters()}
    copy.deepcopy(kd)
    learn.dls.new_empty = lambda: None  # loaders of plain tensors have no empty form
    learn.export("out.pkl")
    exported = (tmp_path / "out.pkl").read_bytes()
    size = sum(p.numel() for p in learn.model.parameters()) * 4
    assert b"tutelage" not in exported
    assert len(exported) < size + 60_000


def test_gradients_are_accumulated_over_batches_to_those_of_one(
    learner, teacher, net, loaders
) -> None:
    whole, parts = [], []
    for bs, callbacks, into in ((16, [], whole), (8, [GradientAccumulation(16)], parts)):
        kd = KnowledgeDistillationCallback(teacher, SoftTarget, weight=0.6)
        learn = learner(kd, *callbacks, model=net(4, seed=2), dls=loaders(bs=bs))
        learn.fit(1, lr=0.1)
        into.extend(p.detach().clone() for p in learn.model.parameters())
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_the_batch_that_is_tried_out_moves_no_random_state(learner, teacher, loaders, net) -> None:
    orders = []
    for callbacks in ([], [KnowledgeDistillationCallback(teacher, SoftTarget, weight=0.0)]):
        seen: list[torch.Tensor] = []
        watch = Callback(before_batch=lambda self, seen=seen: seen.append(self.learn.yb[0]))
        dls = loaders(count=32, shuffle=True)
        dls.train.rng.seed(3)
        learner(*callbacks, watch, model=net(4, seed=2), dls=dls).fit(1)
        orders.append(torch.cat(seen))
    assert torch.equal(*orders)


def test_at_weight_zero_the_teacher_does_not_run(learner, teacher) -> None:
    kd = KnowledgeDistillationCallback(teacher, SoftTarget, schedule=one_shot, metrics=False)
    learner(kd).fit(2)  # four batches, of which two come before half of the fit is behind
    assert teacher.calls == 1 + 2


def test_teacher_on_images_of_other_statistics_gets_them_converted(learner, loaders, net) -> None:
    from fastai.data.core import DataLoaders, TfmdDL
    from fastai.data.transforms import Normalize
    from fastai.torch_core import TensorImage

    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
    normalize = Normalize.from_stats(mean.tolist(), std.tolist(), cuda=False)
    rows = [(TensorImage(x), y) for x, y in loaders().train.dataset]
    dls = DataLoaders(*(TfmdDL(rows, bs=8, after_batch=[normalize]) for _ in range(2)))
    dls.to("cpu")
    teacher, seen = net(6, seed=1), []
    teacher.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    wanted = tl.InputSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    kd = KnowledgeDistillationCallback(teacher, SoftTarget, teacher_inputs=wanted)
    learn = learner(kd, dls=dls)
    x, _ = first_batch(learn)
    learn.fit(1)
    expected = x * std.view(3, 1, 1) + mean.view(3, 1, 1)
    torch.testing.assert_close(seen[0], torch.Tensor(expected))


def test_statistics_that_nobody_states_are_asked_for(learner, teacher) -> None:
    wanted = tl.InputSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    learn = learner(KnowledgeDistillationCallback(teacher, SoftTarget, teacher_inputs=wanted))
    with pytest.raises(TeacherError, match="statistics of the student's images are not known"):
        learn.fit(1)


def test_a_teacher_may_be_a_learner_or_one_of_ours(learner, teacher) -> None:
    for one in (learner(model=teacher), tl.FrozenTeacher(teacher)):
        learn = learner(KnowledgeDistillationCallback(one, SoftTarget))
        learn.fit(1)
        assert learn.recorder.metric_names[3] == "kd_loss"
    with pytest.raises(InputError, match=r"give them to FrozenTeacher"):
        KnowledgeDistillationCallback(
            tl.FrozenTeacher(teacher), SoftTarget, given=tl.InputSpec(channels=3)
        )
    with pytest.raises(TeacherError, match="expected a module or a teacher, found 'resnet34'"):
        KnowledgeDistillationCallback("resnet34", SoftTarget)


def test_the_student_as_its_own_teacher_is_refused(learner) -> None:
    learn = learner()
    learn.add_cb(KnowledgeDistillationCallback(learn.model, SoftTarget))
    with pytest.raises(TeacherError, match="shared with the student"):
        learn.fit(1)


def test_teacher_of_other_classes_is_refused_before_training(learner) -> None:
    teacher = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 7))
    learn = learner(KnowledgeDistillationCallback(teacher, SoftTarget))
    with pytest.raises(ValueError, match="expected student and teacher of equal class counts"):
        learn.fit(1)


def test_two_of_them_on_one_learner_are_refused(learner, teacher) -> None:
    kd = [KnowledgeDistillationCallback(teacher, SoftTarget) for _ in range(2)]
    with pytest.raises(InputError, match="expected one for a learner, found two"):
        learner(*kd).fit(1)


def test_a_typo_in_a_students_layer_stops_the_fit_with_a_suggestion(learner, teacher) -> None:
    learn = learner(KnowledgeDistillationCallback(teacher, FitNet, "bodi", "body"))
    with pytest.raises(TapError, match="did you mean 'body'"):
        learn.fit(1)
    assert type(learn.model).__name__ == "Net"


@pytest.mark.parametrize("is_frozen", [False, True])
def test_a_teachers_part_called_model_is_a_layer_like_others(learner, net, is_frozen) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.neck = net(6, seed=1), nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.neck(self.model(x))

    teacher = tl.FrozenTeacher(Wrapped()) if is_frozen else Wrapped()
    student = ["body", "head"]
    kd = KnowledgeDistillationCallback(
        teacher, FitNet, student, ["model.body", "neck"], projector="auto"
    )
    learner(kd).fit(1)
    with pytest.raises(TapError, match="found no 'body'"):
        KnowledgeDistillationCallback(teacher, FitNet, "body", "body")


def test_a_students_layer_named_like_an_attribute_of_the_learner_is_the_layer(learner) -> None:
    class Student(nn.Module):
        def __init__(self, seed: int) -> None:
            super().__init__()
            torch.manual_seed(seed)
            self.opt = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.opt(x).mean((2, 3))

    kd = KnowledgeDistillationCallback(Student(0), FitNet, "opt", "opt")
    learn = learner(kd, model=Student(1))
    learn.fit(1)
    assert learn.recorder.metric_names[3] == "hint_loss"


def test_weight_outside_its_range_is_refused(learner, teacher) -> None:
    for weight in (1.5, -0.1, tl.Linear(0.0, 2.0, steps=3)):
        with pytest.raises(InputError, match="weight: expected a number from 0 to 1"):
            KnowledgeDistillationCallback(teacher, SoftTarget, weight=weight)
    KnowledgeDistillationCallback(teacher, SoftTarget, weight=1.5, mixing="independent")
    with pytest.raises(InputError, match="expected a schedule such as cos, found 'cos'"):
        KnowledgeDistillationCallback(teacher, SoftTarget, schedule="cos")
    with pytest.raises(InputError, match="mixing: expected one of lerp, independent"):
        KnowledgeDistillationCallback(teacher, SoftTarget, mixing="sum")


def test_data_parallel_is_refused_and_distributed_training_named(learner, teacher) -> None:
    from fastai.distributed import ParallelTrainer

    learn = learner(KnowledgeDistillationCallback(teacher, SoftTarget), ParallelTrainer([0]))
    with pytest.raises(InputError, match=r"use learn\.distrib_ctx"):
        learn.fit(1)


def test_bfloat16_autocast_reaches_the_projector_and_leaves_the_loss_in_float32(
    learner, teacher
) -> None:
    class OnCPU(Callback):
        """What fastai's MixedPrecision does, which knows CUDA alone."""

        order = 10

        def before_batch(self) -> None:
            self.autocast = torch.autocast("cpu", dtype=torch.bfloat16)
            self.autocast.__enter__()

        def after_pred(self) -> None:
            self.learn.pred = self.learn.pred.float()

        def after_loss(self) -> None:
            self.autocast.__exit__(None, None, None)

    made, losses = [], []
    kd = KnowledgeDistillationCallback(teacher, FitNet, "body", "body", projector="auto")

    def watch(module: nn.Module, args: object, output: torch.Tensor) -> None:
        made.append((output.dtype, module.training))

    kd.objective.terms[0].via.register_forward_hook(watch)
    dtypes = Callback(after_backward=lambda self: losses.append(self.learn.loss.dtype))
    learn = learner(kd, OnCPU(), dtypes)
    learn.fit(1)
    assert [dtype for dtype, training in made if training] == [torch.bfloat16] * 2
    assert kd.objective.terms[0].via.weight.dtype == torch.float32
    assert losses == [torch.float32] * 2
    assert all(row is not None for row in learn.recorder.values[-1])


@pytest.mark.filterwarnings("ignore:CUDA is not available")
@pytest.mark.filterwarnings("ignore:torch.cuda.amp.GradScaler is enabled")
@pytest.mark.parametrize("way", ["to_fp16", "to_bf16"])
def test_fastais_mixed_precision_runs_with_it(learner, teacher, way) -> None:
    import fastai.callback.fp16  # noqa: F401

    learn = learner(KnowledgeDistillationCallback(teacher, SoftTarget))
    getattr(learn, way)()
    learn.fit(1)
    assert learn.recorder.values[-1][2] > 0


def _without_labels(learn, x):
    from fastai.data.load import DataLoader

    dl = DataLoader([(one,) for one in x], bs=8)
    dl.n_inp = 1
    return dl
