import copy

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import NumericalError, ShapeError, TapError, TeacherError
from tutelage.teachers import FrozenTeacher, InputSpec, Teacher


class Net(nn.Module):
    """With all that moves in train mode: BatchNorm, dropout, and spectral norm's vectors."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.body = nn.Conv2d(channels, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.body(x)).relu()).mean((2, 3)))


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(5, 1, 6, 6)


def as_bytes(model: nn.Module) -> dict[str, bytes]:
    return {name: t.numpy().tobytes() for name, t in model.state_dict().items()}


def state(model: nn.Module) -> tuple[list[bool], list[bool]]:
    return [p.requires_grad for p in model.parameters()], [m.training for m in model.modules()]


def test_it_is_a_teacher():
    assert isinstance(FrozenTeacher(Net()), Teacher)


def test_signals_are_the_modules_own_in_eval_mode(x):
    net = Net()
    expected = copy.deepcopy(net).eval()(x).detach()
    signals = FrozenTeacher(net)(x)
    torch.testing.assert_close(signals.logits, expected)
    assert signals.taps == {}
    assert not signals.logits.requires_grad
    assert not signals.logits.is_inference()


def test_twenty_forwards_in_a_training_framework_leave_every_byte(x):
    net = Net()
    teacher = FrozenTeacher(net)
    before, parent = as_bytes(net), nn.ModuleList([teacher, net])
    first = teacher(x).logits
    for _ in range(20):
        parent.train()
        teacher.train()
        net.norm.train()
        assert torch.equal(teacher(x).logits, first)
        assert not any(m.training for m in net.modules())
    assert as_bytes(net) == before


def test_a_parent_does_not_take_the_teacher_to_training_even_between_forwards():
    net = Net()
    nn.ModuleList([FrozenTeacher(net)]).train()
    assert not any(m.training for m in net.modules())


def test_gradients_stay_off_whatever_asks_for_them(x):
    net = Net()
    teacher = FrozenTeacher(net)
    assert not any(p.requires_grad for p in net.parameters())
    assert not any(p.requires_grad for p in teacher.requires_grad_(True).parameters())
    net.requires_grad_(True)
    student = nn.Conv2d(1, 1, 1)
    logits = teacher(student(x)).logits
    assert not logits.requires_grad
    (student(x).mean() * logits.sum()).backward()
    assert all(p.grad is None for p in net.parameters())


def test_taps_can_be_saved_for_backward(x):
    teacher = FrozenTeacher(Net())
    teacher.provide(["norm"])
    student = nn.Conv2d(1, 4, 3, padding=1)
    (student(x) * teacher(x).taps["norm"]).sum().backward()
    assert student.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("how", ["close", "with", "exception"])
def test_the_module_is_given_back_as_it_was(x, how):
    net = Net()
    net.norm.eval()
    net.body.bias.requires_grad_(False)
    before = state(net)
    teacher = FrozenTeacher(net)
    teacher.provide(["body"])
    teacher(x)
    net.train()
    if how == "close":
        teacher.close()
    elif how == "with":
        with teacher:
            teacher(x)
    else:
        with pytest.raises(RuntimeError, match="boom"), teacher:
            raise RuntimeError("boom")
    teacher.close()
    assert state(net) == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_module_in_eval_mode_comes_back_in_eval_mode():
    net = Net().eval()
    FrozenTeacher(net).close()
    assert not any(m.training for m in net.modules())


def test_a_failed_construction_leaves_the_module_alone():
    net = Net()
    before = state(net)
    with pytest.raises(TeacherError, match="class_map"):
        FrozenTeacher(net, class_map=[0, 0])
    with pytest.raises(TeacherError, match="statistics"):
        FrozenTeacher(net, inputs=InputSpec(mean=(0.5,), std=(0.5,)))
    assert state(net) == before


def test_a_closed_teacher_refuses_and_can_be_opened_again(x):
    net = Net()
    teacher = FrozenTeacher(net)
    first = teacher(x).logits
    teacher.close()
    with pytest.raises(TeacherError, match=r"closed; call its freeze\(\)"):
        teacher(x)
    teacher.freeze()
    assert torch.equal(teacher(x).logits, first)
    teacher.close()
    teacher.provide(["body"])
    assert set(teacher(x).taps) == {"body"}
    teacher.close()
    assert all(p.requires_grad for p in net.parameters())


def test_promises_add_up(x):
    teacher = FrozenTeacher(Net())
    teacher.provide(["norm"])
    teacher.provide(["body", "norm"])
    teacher.provide([])
    assert list(teacher(x).taps) == ["norm", "body"]


def test_an_unknown_layer_fails_at_the_promise_and_keeps_the_earlier_ones(x):
    teacher = FrozenTeacher(Net())
    teacher.provide(["norm"])
    with pytest.raises(TapError, match="body"):
        teacher.provide(["bdoy"])
    assert set(teacher(x).taps) == {"norm"}


def test_a_failed_forward_does_not_spoil_the_next(x):
    teacher = FrozenTeacher(Net())
    teacher.provide(["body"])
    with pytest.raises(RuntimeError):
        teacher(x[:, :, 0])
    assert set(teacher(x).taps) == {"body"}


def test_a_deep_copy_is_the_teacher_itself():
    teacher = FrozenTeacher(Net())
    assert copy.deepcopy({"teacher": teacher})["teacher"] is teacher


def test_random_numbers_are_not_used(x):
    teacher = FrozenTeacher(Net())
    torch.manual_seed(3)
    teacher(x)
    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4))


def test_it_moves_with_the_function_given(x):
    adapted = InputSpec(mean=(0.1,), std=(0.2,))
    net = Net()
    teacher = FrozenTeacher(net, inputs=adapted, given=InputSpec(mean=(0.0,), std=(1.0,)))
    teacher.apply_to_tensors(lambda t: t.double() if t.is_floating_point() else t)
    assert net.body.weight.dtype == torch.float64
    assert teacher(x).logits.dtype == torch.float64


def test_inputs_are_cast_to_the_teachers_dtype(x):
    net = Net().to(torch.bfloat16)
    assert FrozenTeacher(net)(x).logits.dtype == torch.bfloat16


def test_whole_numbers_are_not_cast():
    tokens = torch.tensor([[1, 2], [0, 3]])
    net = nn.Sequential(nn.Embedding(4, 2), nn.Flatten()).to(torch.float64)
    assert FrozenTeacher(net)(tokens).logits.shape == (2, 4)


def test_the_tensors_are_named_as_in_the_module():
    net = Net()
    named = dict(FrozenTeacher(net).named_tensors())
    assert named["body.weight"] is net.body.weight
    assert named["norm.running_mean"] is net.norm.running_mean
    assert len(named) == len(list(net.parameters())) + len(list(net.buffers()))


def test_images_are_converted_before_the_teacher_sees_them(x):
    net, given = Net(3), InputSpec(mean=(0.3,), std=(0.4,))
    wanted = InputSpec(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), size=(12, 12))
    teacher = FrozenTeacher(net, inputs=wanted, given=given)
    raw = nn.functional.interpolate(x * 0.4 + 0.3, (12, 12), mode="bilinear", antialias=True)
    expected = (raw - torch.tensor(wanted.mean).view(3, 1, 1)) / torch.tensor(wanted.std).view(
        3, 1, 1
    )
    torch.testing.assert_close(teacher(x).logits, net(expected), atol=1e-5, rtol=1e-5)
    with pytest.raises(ShapeError, match=r"expected images \[B, 1, H, W\]"):
        teacher(x.expand(-1, 3, -1, -1))


def test_several_inputs_are_handed_on_but_not_converted():
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    a, b = torch.ones(2, 3), torch.ones(2, 3)
    assert torch.equal(FrozenTeacher(Sum())((a, b)).logits, a + b)
    assert torch.equal(FrozenTeacher(Sum())({"b": b, "a": a}).logits, a + b)
    with pytest.raises(TeacherError, match="found tuple"):
        FrozenTeacher(Sum(), inputs=InputSpec(size=(4, 4)))((a, b))


def test_the_students_classes_are_picked(x):
    net = Net()
    signals = FrozenTeacher(net, class_map=[2, 0])(x)
    assert torch.equal(signals.logits, net(x)[:, [2, 0]])


def test_a_teacher_that_loses_the_batch_is_refused(x):
    class Mean(nn.Module):
        def forward(self, x):
            return x.mean(0, keepdim=True).flatten(1)

    with pytest.raises(TeacherError, match="expected 5 rows of logits"):
        FrozenTeacher(Mean())(x)


def test_modules_that_do_more_than_set_a_flag_are_switched_through_their_own_methods(x):
    class Merging(nn.Linear):
        """Like an adapter that is merged into the weight for inference."""

        def train(self, mode=True):
            if mode != self.training:
                self.weight.data.mul_(2.0 if mode else 0.5)
            return super().train(mode)

    net = nn.Sequential(nn.Flatten(), Merging(36, 3))
    weight = net[1].weight.detach().clone()
    teacher = FrozenTeacher(net)
    assert torch.equal(net[1].weight, weight / 2)
    net.train()
    teacher(x)
    assert torch.equal(net[1].weight, weight / 2)
    teacher.close()
    assert torch.equal(net[1].weight, weight)
    assert all(m.training for m in net.modules())


def test_it_compiles_to_one_graph_with_taps(x):
    teacher = FrozenTeacher(Net(), class_map=[1, 2])
    teacher.provide(["norm"])
    expected = teacher(x)
    signals = torch.compile(teacher, fullgraph=True, backend="eager")(x)
    torch.testing.assert_close(signals.logits, expected.logits)
    torch.testing.assert_close(signals.taps["norm"], expected.taps["norm"])


def test_it_closes_with_the_last_of_its_users(x):
    net = Net()
    teacher = FrozenTeacher(net)
    teacher.provide(["body"])
    teacher.provide(["norm"])
    teacher.close()
    assert set(teacher(x).taps) == {"body", "norm"}
    assert not any(p.requires_grad for p in net.parameters())
    teacher.close()
    assert all(p.requires_grad for p in net.parameters())
    teacher.close()
    with pytest.raises(TeacherError, match="closed"):
        teacher(x)


def test_leaving_its_with_block_closes_it_for_all_users():
    net = Net()
    with FrozenTeacher(net) as teacher:
        teacher.provide([])
        teacher.provide([])
    assert all(p.requires_grad for p in net.parameters())


def test_a_teacher_that_is_opened_again_keeps_its_promises(x):
    teacher = FrozenTeacher(Net())
    teacher.provide(["norm"])
    teacher.close()
    teacher.freeze()
    assert set(teacher(x).taps) == {"norm"}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("part", [lambda net: net, lambda net: net.head])
def test_two_teachers_on_one_module_give_its_original_state_back_in_any_order(order, part):
    net = Net()
    net.norm.eval()
    net.head.bias.requires_grad_(False)
    before = state(net)
    teachers = FrozenTeacher(net), FrozenTeacher(part(net))
    teachers[order[0]].close()
    still_held = teachers[order[1]].model
    assert not any(p.requires_grad for p in still_held.parameters())
    assert not any(m.training for m in still_held.modules())
    teachers[order[1]].close()
    assert state(net) == before


def test_parameters_that_a_move_replaced_are_given_back_too():
    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(4, 3, dtype=torch.float64))
    net[0].bias.requires_grad_(False)
    teacher = FrozenTeacher(net)
    net.to_empty(device="cpu")
    nn.init.zeros_(net[0].weight)
    net.float()
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.zero_()
    assert teacher(torch.ones(2, 4, dtype=torch.float64)).logits.dtype == torch.float32
    teacher.close()
    assert [p.requires_grad for p in net.parameters()] == [True, False]


class Writing(nn.Module):
    """Its first layer overwrites the batch."""

    def __init__(self):
        super().__init__()
        self.relu, self.body = nn.ReLU(inplace=True), nn.Conv2d(1, 3, 3)

    def forward(self, x, scale=1):
        return self.body(self.relu(x)).mean((2, 3)) * scale


@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x, 2), lambda x: {"x": x}])
def test_a_teacher_that_writes_in_place_leaves_the_students_inputs_whole(x, form):
    teacher, before = FrozenTeacher(Writing()), x.clone()
    first = teacher(form(x)).logits
    for _ in range(3):
        assert torch.equal(teacher(form(x)).logits, first)
    assert torch.equal(x, before)


def test_a_compiled_teacher_that_writes_in_place_leaves_the_inputs_whole(x):
    before = x.clone()
    torch.compile(FrozenTeacher(Writing()), fullgraph=True, backend="eager")(x)
    assert torch.equal(x, before)


def test_a_teacher_that_only_reads_gets_the_batch_itself_after_the_first(x):
    seen = []
    net = Net()
    net.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    teacher = FrozenTeacher(net)
    for _ in range(3):
        teacher(x)
    assert [one is x for one in seen] == [False, True, True]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_logits_of_the_first_batch_are_refused(value):
    inputs = torch.zeros(4, 3)
    inputs[2, 1] = value
    with pytest.raises(NumericalError, match=r"NaN or \+inf in 1 of 4 rows .* \(2\); check") as e:
        FrozenTeacher(nn.Identity())(inputs)
    assert e.value.exit_code == 4


def test_a_class_that_the_teacher_rules_out_is_legal():
    inputs = torch.zeros(4, 3)
    inputs[:, 1] = -torch.inf
    assert torch.equal(FrozenTeacher(nn.Identity())(inputs).logits, inputs)


def exported(net):
    return torch.export.export(net, (torch.randn(5, 4),)).module()


def test_an_exported_module_can_be_a_teacher():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout(0.5)).eval()
    x = torch.randn(5, 4)
    module = exported(net)
    with FrozenTeacher(nn.Sequential(module, nn.Dropout(0.5))) as teacher:
        for _ in range(2):
            torch.testing.assert_close(teacher(x).logits, net(x))
        assert not any(p.requires_grad for p in module.parameters())
    assert all(p.requires_grad for p in module.parameters())


def test_a_module_that_was_exported_in_training_mode_is_refused():
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    with pytest.raises(TeacherError, match=r"exported in training mode; export model.eval\(\)"):
        FrozenTeacher(exported(net))(torch.randn(5, 4))


def test_a_stated_size_is_checked_where_nothing_is_converted(x):
    teacher = FrozenTeacher(Net(), inputs=InputSpec(size=6), given=InputSpec(size=6))
    teacher(x)
    with pytest.raises(ShapeError, match=r"expected images \[B, C, 6, 6\]"):
        teacher(x[..., :5])


def test_a_colour_teacher_that_writes_in_place_takes_grey_images(x):
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3), nn.Flatten())
    teacher = FrozenTeacher(net, inputs=InputSpec(channels=3), given=InputSpec(channels=1))
    before = x.clone()
    expected = net(x.repeat(1, 3, 1, 1))
    for _ in range(2):
        torch.testing.assert_close(teacher(x).logits, expected)
    assert torch.equal(x, before)
