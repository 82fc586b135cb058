import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import tutelage as tl
from tutelage.errors import DataError, InputError, ShapeError, TapError, TeacherError


class Net(nn.Module):
    """Small, with everything that moves in train mode: BatchNorm and dropout."""

    def __init__(self, width: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.relu(self.norm(self.body(x)))).mean((2, 3)))


def batch(n: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 1, 6, 6, generator=generator), torch.arange(n) % 3


def hints(**options: object) -> list[tl.Term]:
    return [
        tl.Term(tl.CELoss()),
        tl.Term(tl.KDLoss(), 0.5),
        tl.Term(tl.HintLoss(), 2.0, at=("norm", "norm"), via="auto", **options),
    ]


def make(student: nn.Module | None = None, **options: object) -> tl.Distiller:
    torch.manual_seed(0)
    return tl.Distiller(student or Net(), tl.FrozenTeacher(Net(7)), hints(), **options)


def test_a_step_equals_the_same_computation_by_hand() -> None:
    x, y = batch()
    distiller = make(example=x).eval()
    step = distiller(x, y)
    student, teacher = distiller.student, distiller.teacher.model
    logits, other = student(x), teacher(x)
    mine, theirs = student.norm(student.body(x)), teacher.norm(teacher.body(x))
    hint = (distiller.objective.terms[2].via(mine) - theirs).square().mean()
    ce, kd = tl.CELoss()(logits, None, y), tl.KDLoss()(logits, other)
    torch.testing.assert_close(step.loss, ce + 0.5 * kd + 2.0 * hint)
    torch.testing.assert_close(step.logits, logits)
    torch.testing.assert_close(step.parts["hint"], hint.detach())


def test_training_moves_student_and_projector_and_nothing_of_the_teacher() -> None:
    x, y = batch()
    distiller = make(example=x)
    teacher = copy.deepcopy(distiller.teacher.model.state_dict())
    before = {name: p.clone() for name, p in distiller.named_parameters()}
    optimiser = torch.optim.AdamW(distiller.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        distiller(x, y).loss.backward()
        optimiser.step()
    assert all(not torch.equal(before[name], p) for name, p in distiller.named_parameters())
    after = distiller.teacher.model.state_dict()
    assert all(torch.equal(teacher[name], after[name]) for name in teacher)


def test_parameters_and_state_hold_student_and_projectors_only() -> None:
    x, _ = batch()
    distiller = make(example=x)
    keys = set(distiller.state_dict())
    assert {key.split(".")[0] for key in keys} == {"student", "objective"}
    assert {key for key in keys if key.startswith("objective")} == {
        "objective.terms.2.via.weight",
        "objective.terms.2.via.shapes",
        "objective.terms.2.via.bias",
    }
    teacher = {id(p) for p in distiller.teacher.model.parameters()}
    assert not teacher & {id(p) for p in distiller.parameters()}
    assert not teacher & {id(p) for m in distiller.modules() for p in m.parameters()}


def test_an_optimiser_made_before_the_first_step_trains_the_automatic_projector() -> None:
    x, y = batch()
    distiller = make()
    optimiser = torch.optim.SGD(distiller.parameters(), lr=0.1)
    distiller(x, y).loss.backward()
    projector = distiller.objective.terms[2].via
    before = projector.weight.clone()
    optimiser.step()
    assert not torch.equal(before, projector.weight)


def test_judging_a_given_output_equals_running_the_student() -> None:
    x, y = batch()
    distiller = make(example=x).eval()
    whole = distiller(x, y)
    judged = distiller.judge(distiller.student(x), x, y)
    assert torch.equal(whole.loss, judged.loss)


def test_without_a_teacher_the_student_trains_alone() -> None:
    x, y = batch()
    student = Net().eval()
    step = tl.Distiller(student, None, [tl.CELoss()]).eval()(x, y)
    torch.testing.assert_close(step.loss, nn.functional.cross_entropy(student(x), y))


def test_the_student_alone_is_a_bare_independent_copy() -> None:
    x, y = batch()
    distiller = make(example=x)
    bare = distiller.student_only()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in bare.modules())
    assert set(bare.state_dict()) == set(Net().state_dict())
    with torch.no_grad():
        bare.head.weight.zero_()
    assert distiller.student.head.weight.abs().sum() > 0
    distiller(x, y).loss.backward()  # its own taps still work
    pickle.dumps(bare)


def test_a_copy_for_ema_taps_itself_and_shares_the_frozen_teacher() -> None:
    x, y = batch()
    distiller = make(example=x)
    ema = AveragedModel(distiller)
    assert ema.module.teacher is distiller.teacher
    with torch.no_grad():
        for p in ema.module.student.parameters():
            p.zero_()
    ema.eval()
    distiller.eval()
    own = distiller(x, y).parts["hint"]
    assert not torch.equal(ema(x, y).parts["hint"], own)
    assert torch.equal(distiller(x, y).parts["hint"], own)


def test_the_teacher_follows_to_device_and_dtype() -> None:
    distiller = make().double()
    assert {p.dtype for p in distiller.teacher.model.parameters()} == {torch.float64}
    distiller.to("meta")
    assert all(p.is_meta for p in distiller.teacher.model.parameters())


def test_closing_gives_the_users_module_back_as_it_was() -> None:
    teacher = Net(7)
    teacher.head.bias.requires_grad_(False)
    teacher.norm.eval()
    flags = [p.requires_grad for p in teacher.parameters()]
    modes = [m.training for m in teacher.modules()]
    student = Net()
    distiller = tl.Distiller(student, tl.FrozenTeacher(teacher), hints())
    distiller(*batch())
    assert not any(p.requires_grad for p in teacher.parameters())
    with pytest.raises(RuntimeError, match="boom"), distiller:
        raise RuntimeError("boom")
    assert [p.requires_grad for p in teacher.parameters()] == flags
    assert [m.training for m in teacher.modules()] == modes
    for model in (student, teacher):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_failed_construction_leaves_no_hook_and_no_frozen_teacher() -> None:
    teacher, student = Net(7), Net()
    terms = [tl.Term(tl.HintLoss(), at=("norm", "nrom"))]
    with pytest.raises(TapError, match="norm"):
        tl.Distiller(student, tl.FrozenTeacher(teacher), terms)
    assert all(p.requires_grad for p in teacher.parameters())
    assert teacher.training
    for model in (student, teacher):
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_mistyped_layer_of_the_student_is_named_with_suggestions() -> None:
    with pytest.raises(TapError, match=r"did you mean.*body"):
        tl.Distiller(Net(), tl.FrozenTeacher(Net()), [tl.Term(tl.HintLoss(), at=("bdoy", "body"))])


def test_the_student_as_its_own_teacher_is_refused_with_names() -> None:
    net = Net()
    with pytest.raises(TeacherError, match=r"head\.weight|body\.weight"):
        tl.Distiller(net, tl.FrozenTeacher(net), [tl.KDLoss()])
    other = Net()
    other.head = net.head
    with pytest.raises(TeacherError, match=r"head\.weight") as caught:
        tl.Distiller(net, tl.FrozenTeacher(other), [tl.KDLoss()])
    assert "body" not in str(caught.value)


def test_a_view_of_the_students_tensor_is_found_too() -> None:
    net, other = Net(), Net()
    other.norm.running_mean = net.norm.running_mean[:]
    with pytest.raises(TeacherError, match=r"norm\.running_mean"):
        tl.Distiller(net, tl.FrozenTeacher(other), [tl.KDLoss()])


def test_class_counts_that_differ_ask_for_a_map() -> None:
    x, y = batch()
    with pytest.raises(ShapeError, match="class_map"):
        tl.Distiller(Net(), tl.FrozenTeacher(Net(classes=5)), [tl.KDLoss()], example=x)
    distiller = tl.Distiller(Net(), tl.FrozenTeacher(Net(classes=5)), [tl.KDLoss()])
    with pytest.raises(ShapeError, match="3 vs teacher"):
        distiller(x, y)
    mapped = tl.FrozenTeacher(Net(classes=5), class_map=[4, 0, 2])
    assert tl.Distiller(Net(), mapped, [tl.KDLoss()])(x, y).loss > 0


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_out_of_range_is_refused(label: int) -> None:
    x, y = batch()
    y = y.clone()
    y[2] = label
    with pytest.raises(DataError, match=f"from 0 to 2, found {label}") as caught:
        make()(x, y)
    assert caught.value.exit_code == 3


def test_feature_shapes_without_a_projector_fail_at_construction_with_an_example() -> None:
    x, _ = batch()
    with pytest.raises(ShapeError, match=r"via="):
        tl.Distiller(
            Net(4),
            tl.FrozenTeacher(Net(7)),
            [tl.Term(tl.HintLoss(), at=("norm", "norm"))],
            example=x,
        )


def test_what_could_not_train_is_refused() -> None:
    with pytest.raises(TeacherError, match="need a teacher"):
        tl.Distiller(Net(), None, [tl.KDLoss()])
    with pytest.raises(TeacherError, match="FrozenTeacher"):
        tl.Distiller(Net(), Net(), [tl.KDLoss()])  # type: ignore[arg-type]
    with pytest.raises(TeacherError, match="for nothing"):
        tl.Distiller(Net(), tl.FrozenTeacher(Net()), [tl.CELoss()])
    with pytest.raises(InputError, match="requires a gradient"):
        tl.Distiller(Net().requires_grad_(False), None, [tl.CELoss()])
    with pytest.raises(InputError, match="logits"):
        tl.Distiller(nn.LSTM(2, 2), None, [tl.CELoss()])(torch.randn(2, 2, 2))


def test_the_example_changes_neither_modes_nor_statistics() -> None:
    student = Net()
    student.drop.eval()
    modes = [m.training for m in student.modules()]
    before = copy.deepcopy(student.state_dict())
    make(student, example=batch()[0])
    assert [m.training for m in student.modules()] == modes
    after = student.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_loss_from_features_only_still_reaches_every_parameter() -> None:
    x, y = batch()
    distiller = tl.Distiller(
        Net(), tl.FrozenTeacher(Net()), [tl.Term(tl.HintLoss(), at=("body", "body"))]
    )
    step = distiller(x, y)
    step.loss.backward()
    assert all(p.grad is not None for p in distiller.parameters())
    torch.testing.assert_close(step.loss.detach(), step.parts["hint"])


def test_schedules_advance_with_training_steps_and_survive_a_checkpoint() -> None:
    def scheduled() -> tl.Distiller:
        torch.manual_seed(0)
        terms = [tl.Term(tl.CELoss()), tl.Term(tl.KDLoss(), tl.Linear(0.0, 1.0, steps=4))]
        return tl.Distiller(Net(), tl.FrozenTeacher(Net(7)), terms)

    x, y = batch()
    first = scheduled()
    for count in range(3):
        step = first(x, y)
        torch.testing.assert_close(
            step.loss.detach(), step.parts["ce"] + count / 4 * step.parts["kd"]
        )
    first.eval()
    step = first(x, y)  # evaluation does not advance
    torch.testing.assert_close(step.loss.detach(), step.parts["ce"] + 0.5 * step.parts["kd"])
    second = scheduled()
    second.load_state_dict(first.state_dict())
    step = second(x, y)
    torch.testing.assert_close(step.loss.detach(), step.parts["ce"] + 0.75 * step.parts["kd"])
    second.set_step(1)
    for _ in range(2):  # from now on only set_step moves it
        step = second(x, y)
        torch.testing.assert_close(step.loss.detach(), step.parts["ce"] + 0.25 * step.parts["kd"])


def test_dict_outputs_and_several_inputs_work() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
            return {"logits": self.fc(a + b)}

    a, b, y = torch.randn(5, 4), torch.randn(5, 4), torch.arange(5) % 3
    distiller = tl.Distiller(Two(), tl.FrozenTeacher(Two()), [tl.CELoss(), tl.KDLoss()])
    by_position = distiller((a, b), y)
    by_name = distiller({"a": a, "b": b}, y)
    torch.testing.assert_close(by_position.loss, by_name.loss)


def test_autocast_gives_a_float32_loss() -> None:
    x, y = batch()
    distiller = make(example=x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = distiller(x, y)
    assert step.loss.dtype == torch.float32
    step.loss.backward()
    assert all(p.grad is not None for p in distiller.parameters())


def test_a_teacher_whose_signals_carry_a_gradient_is_refused() -> None:
    class Careless(tl.CallableTeacher):
        def __call__(self, inputs: Tensor, ids: Tensor | None = None) -> tl.Signals:
            return tl.Signals(self.function(inputs))

    x, y = batch()
    with pytest.raises(TeacherError, match="no_grad"):
        tl.Distiller(Net(), Careless(Net().forward), [tl.KDLoss()])(x, y)


def test_labels_are_checked_by_the_term_that_reads_them() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    x, target = torch.randn(2, 3, 5, 6), torch.randint(0, 4, (2, 5, 6))
    target[0, 0, 0] = 255  # how segmentation marks pixels without a label
    term = tl.Term(tl.CELoss(ignore_index=255), class_axis=1)
    assert tl.Distiller(Dense(), None, [term])(x, target).loss > 0
    with pytest.raises(DataError, match="found 255"):
        tl.Distiller(Dense(), None, [tl.Term(tl.CELoss(), class_axis=1)])(x, target)
    with pytest.raises(ShapeError, match="class_axis=1"):
        tl.Distiller(Dense(), None, [tl.CELoss()])(x, target)
    # Nothing reads this target as class indices.
    other = tl.Distiller(Net(), tl.FrozenTeacher(Net()), [tl.KDLoss()])
    assert other(*batch()[:1], target=torch.full((8,), 77)).loss >= 0


@pytest.mark.parametrize("scheduled", ["weight", "temperature"])
def test_two_forwards_before_one_backward_work_with_schedules(scheduled: str) -> None:
    ramp = tl.Linear(1.0, 2.0, steps=10)
    term = tl.Term(tl.KDLoss(), ramp) if scheduled == "weight" else tl.KDLoss(temperature=ramp)
    distiller = tl.Distiller(Net(), tl.FrozenTeacher(Net(7)), [tl.CELoss(), term])
    first, second = distiller(*batch()), distiller(*batch())
    distiller.set_step(5)
    (first.loss + second.loss).backward()


def test_schedules_stand_where_they_stood_after_loading_even_in_evaluation() -> None:
    def scheduled() -> tl.Distiller:
        torch.manual_seed(0)
        teacher = tl.FrozenTeacher(Net(7))
        return tl.Distiller(Net(), teacher, [tl.Term(tl.KDLoss(), tl.Linear(0.5, 9.0, steps=9))])

    first, second = scheduled(), scheduled()
    for _ in range(4):
        first(*batch())
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(*batch()).loss, second.eval()(*batch()).loss)


def test_a_scheduled_weight_is_not_rounded_by_a_cast() -> None:
    term = tl.Term(tl.KDLoss(), tl.Linear(1e5, 1e5, steps=1))
    distiller = tl.Distiller(Net(), tl.FrozenTeacher(Net(7)), [term]).bfloat16()
    step = distiller(batch()[0].bfloat16())
    torch.testing.assert_close(step.loss.detach(), step.parts["kd"] * 1e5)


def test_one_teacher_serves_several_distillers_until_the_last_is_closed() -> None:
    teacher = tl.FrozenTeacher(Net(7))
    terms = [tl.Term(tl.HintLoss(), at=("norm", "norm"), via="auto")]
    first = tl.Distiller(Net(), teacher, terms, example=batch()[0])
    with pytest.raises(TapError):
        tl.Distiller(Net(), teacher, [tl.Term(tl.HintLoss(), at=("norm", "nope"))])
    second = tl.Distiller(Net(), teacher, [tl.KDLoss()])
    copy.deepcopy(first).close()
    second.close()
    second.close()
    assert first(*batch()).parts["hint"] > 0
    first.close()
    assert all(p.requires_grad for p in teacher.model.parameters())


def test_a_projector_taken_from_the_teacher_is_refused() -> None:
    teacher = Net()
    terms = [tl.CELoss(), tl.Term(tl.HintLoss(), at=("norm", "norm"), via=teacher.norm)]
    with pytest.raises(TeacherError, match=r"via\.weight"):
        tl.Distiller(Net(), tl.FrozenTeacher(teacher), terms)


def test_a_watched_layer_may_be_frozen_and_a_trained_one_may_not() -> None:
    def build(weight: float) -> tl.Distiller:
        student = Net()
        student.body.requires_grad_(False)
        terms = [tl.CELoss(), tl.Term(tl.HintLoss(), weight, at=("body", "body"))]
        return tl.Distiller(student, tl.FrozenTeacher(Net()), terms)

    assert build(0.0)(*batch()).parts["hint"] > 0
    with pytest.raises(TapError, match="carries a gradient"):
        build(1.0)(*batch())


def test_an_example_target_serves_losses_of_the_users_own() -> None:
    x, _ = batch()
    many = torch.randint(0, 2, (8, 3)).float()

    def bce(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(student, target)

    terms = [tl.KDLoss(), tl.Term(bce, name="bce")]
    tl.Distiller(Net(), tl.FrozenTeacher(Net(7)), terms, example=x)
    distiller = tl.Distiller(Net(), tl.FrozenTeacher(Net(7)), terms, example=x, example_target=many)
    assert distiller(x, many).parts["bce"] > 0
    wrong = {"example": x, "example_target": many[:, :2]}
    with pytest.raises(ValueError, match="size"):
        tl.Distiller(Net(), tl.FrozenTeacher(Net(7)), terms, **wrong)


def test_a_student_inside_ddp_with_projectors_outside_is_refused(tmp_path: object) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/ddp", rank=0, world_size=1)
    try:
        student = nn.parallel.DistributedDataParallel(Net())
        terms = [tl.Term(tl.HintLoss(), at=("module.norm", "norm"), via="auto")]
        with pytest.raises(InputError, match="wrap the distiller"):
            tl.Distiller(student, tl.FrozenTeacher(Net(7)), terms)
        whole = nn.parallel.DistributedDataParallel(make(example=batch()[0]))
        assert whole(*batch()).loss > 0
    finally:
        dist.destroy_process_group()


def test_pairs_of_layers_keep_their_order_and_a_layer_may_stand_in_several() -> None:
    x, y = batch()
    student, teacher = Net(4), Net(4)
    student.relu, teacher.relu = nn.ReLU(), nn.ReLU()
    crossed = [("norm", "body"), ("body", "norm"), ("body", "body")]  # not as they run
    terms = [tl.Term(tl.HintLoss(), at=pair, name=str(pair)) for pair in crossed]
    terms.append(tl.Term(tl.LayersLoss(weights=(1, 10, 100)), at=crossed, name="all"))
    distiller = tl.Distiller(student, tl.FrozenTeacher(teacher), terms).eval()
    parts = distiller(x, y).parts
    mine, theirs = (
        {"body": net.body(x), "norm": net.norm(net.body(x))} for net in (student, teacher)
    )
    values = [(mine[one] - theirs[other]).square().mean() for one, other in crossed]
    for pair, value in zip(crossed, values, strict=True):
        torch.testing.assert_close(parts[str(pair)], value)
    expected = values[0] + 10 * values[1] + 100 * values[2]
    torch.testing.assert_close(parts["all"], expected)
    distiller.close()
    assert not any(m._forward_hooks for net in (student, teacher) for m in net.modules())


def test_the_student_runs_once_a_step_and_through_its_own_call() -> None:
    # Whatever is hooked onto it fires, and dropout draws once.
    x, y = batch()
    student, calls = Net(), []
    student.register_forward_hook(lambda *_: calls.append("student"))
    student.head.register_forward_hook(lambda *_: calls.append("head"))
    make(student, example=x)(x, y)  # the example runs it as well
    assert calls == ["head", "student"] * 2
