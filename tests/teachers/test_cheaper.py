"""Teachers that cost less: the same signals, or a warning with figures."""

import copy
import pickle

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import InputError, TapError
from tutelage.signals import Signals
from tutelage.taps import Taps
from tutelage.teachers import cheaper
from tutelage.teachers.cheaper import Drift, drift


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.deep = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        self.reached = 0

    def forward(self, x):
        x = self.deep(self.relu(self.body(x)))
        try:
            x = x.mean((2, 3))
        except Exception:
            raise AssertionError("a model met the end of its forward") from None
        self.reached += 1
        return self.head(x)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def x():
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("names", [["body"], ["deep", "body"], ["relu:in"], ["body:pooled"]])
def test_a_forward_that_ends_with_the_last_tap_gives_the_same_taps(net, x, names):
    teacher = tl.FrozenTeacher(net)
    teacher.provide(names)
    for batch in (x, x + 1, 2 * x):
        reached = net.reached
        found = teacher.only_taps(batch)
        is_first = reached == 0
        assert (net.reached == reached + 1) == is_first
        assert (found.logits is None) == (not is_first)
        whole = teacher(batch)
        assert list(found.taps) == names
        assert all(torch.equal(found.taps[name], whole.taps[name]) for name in names)
        assert whole.logits is not None


def test_a_distiller_without_a_loss_on_logits_ends_the_forward_early(net, x):
    student = Net()
    hint = tl.Term(tl.HintLoss(), at="body")
    for terms, runs in (([hint], 1), ([hint, tl.Term(tl.KDLoss())], 4)):
        net.reached = 0
        distiller = tl.Distiller(student, tl.FrozenTeacher(net), terms, example=x)
        losses = [distiller(x).parts["hint"].item() for _ in range(3)]
        assert net.reached == runs
        assert losses == [nn.functional.mse_loss(student.body(x), net.body(x)).item()] * 3
        distiller.close()


def test_labels_beside_taps_do_not_call_for_the_teachers_logits(net, x):
    terms = [tl.Term(tl.HintLoss(), at="body"), tl.Term(tl.CELoss())]
    distiller = tl.Distiller(Net(), tl.FrozenTeacher(net), terms)
    for _ in range(3):
        distiller(x, torch.zeros(6, dtype=torch.long)).loss.backward()
    assert net.reached == 1


def test_an_exit_beside_taps_does(net, x):
    terms = [
        tl.Term(tl.HintLoss(), at="body"),
        tl.Term(tl.KDLoss(), at=("body", None), via=tl.ExitHead(8, 5)),
    ]
    distiller = tl.Distiller(Net(), tl.FrozenTeacher(net), terms)
    for _ in range(3):
        distiller(x)
    assert net.reached == 3


def test_taps_added_later_are_seen_by_a_whole_forward_first(net, x):
    teacher = tl.FrozenTeacher(net)
    teacher.provide(["body"])
    teacher.only_taps(x)
    teacher.only_taps(x)
    teacher.provide(["deep"])
    assert teacher.only_taps(x).logits is not None
    assert list(teacher.only_taps(x).taps) == ["body", "deep"]
    assert net.reached == 2
    teacher.close()
    teacher.close()
    teacher.freeze()
    assert teacher.only_taps(x).logits is not None


def test_a_layer_that_runs_twice_is_still_refused(x):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.body(self.body(x)).mean((2, 3))

    teacher = tl.FrozenTeacher(Twice())
    teacher.provide(["body"])
    for _ in range(2):
        with pytest.raises(TapError, match="more than once"):
            teacher.only_taps(x)


def test_an_error_of_the_model_is_not_taken_for_the_end(net, x):
    taps = Taps(net, ["head"])
    with pytest.raises(RuntimeError):
        taps.run_until_seen(lambda: net(x[:, :1]))
    net(x)
    assert taps.read()["head"].shape == (6, 5)
    pickle.loads(pickle.dumps(copy.deepcopy(net)))(x)


def test_other_hooks_of_the_module_go_on_working_after_an_early_end(net, x):
    teacher = tl.FrozenTeacher(net)
    teacher.provide(["body"])
    seen = []
    net.body.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    for _ in range(3):
        teacher.only_taps(x)
    teacher.close()
    net(x)
    assert len(seen) >= 2
    assert net.reached == 2


def test_bf16_is_kept_where_it_is_accurate_and_shown_as_float32(net, x):
    exact = tl.FrozenTeacher(copy.deepcopy(net))
    teacher = tl.FrozenTeacher(net, precision="bf16")
    for one in (exact, teacher):
        one.provide(["body"])
    for batch in (x, x + 1):
        found, expected = teacher(batch), exact(batch)
        assert found.logits.dtype == found.taps["body"].dtype == torch.float32
        torch.testing.assert_close(found.logits, expected.logits, rtol=0.02, atol=0.02)
        assert not torch.equal(found.logits, expected.logits)
    assert teacher.engine.is_low
    assert teacher.engine.drift.is_small
    assert 0 < teacher.engine.drift.kl < cheaper.MOST_KL
    assert 0 < teacher.engine.drift.taps["body"] < 0.01
    assert all(p.dtype == torch.float32 for p in net.parameters())
    teacher(x)
    teacher.only_taps(x)
    short = teacher.only_taps(x)
    assert short.logits is None
    assert short.taps["body"].dtype == torch.float32
    assert torch.equal(short.taps["body"], teacher(x).taps["body"])


def test_bf16_is_dropped_with_the_figures_where_it_is_not(net, x, monkeypatch):
    monkeypatch.setattr(cheaper, "MOST_KL", 1e-9)
    teacher = tl.FrozenTeacher(net, precision="bf16")
    with pytest.warns(UserWarning, match=r"no more than KL 1e-09.*found KL \d.*likeliest classes"):
        found = teacher(x)
    assert not teacher.engine.is_low
    assert torch.equal(found.logits, net(x))
    assert torch.equal(teacher(x + 1).logits, net(x + 1))


@pytest.mark.parametrize("is_fast", [True, False])
def test_auto_asks_the_device(net, x, monkeypatch, is_fast):
    monkeypatch.setattr(cheaper, "_is_fast", lambda device: is_fast)
    teacher = tl.FrozenTeacher(net, precision="auto")
    assert torch.equal(teacher(x).logits, net(x)) == (not is_fast)
    assert teacher.engine.is_low == is_fast
    assert cheaper._is_fast is not None


def test_drift_is_measured_as_stated():
    exact = Signals(torch.tensor([[1.0, 0.0], [0.0, 0.1]]), {"a": torch.tensor([3.0, 4.0])})
    low = Signals(torch.tensor([[1.0, 0.0], [0.1, 0.0]]), {"a": torch.tensor([3.0, 4.5])})
    found = drift(exact, low)
    p, q = (one.logits[1].double().softmax(-1) for one in (exact, low))
    assert found.kl == pytest.approx(float((p * (p / q).log()).sum()) / 2, rel=1e-5)
    assert (found.agreement, found.changed) == (0.5, 1)
    assert found.taps == {"a": pytest.approx(0.1)}
    assert not found.is_small
    assert Drift(1e-4, 0.5, 1).is_small  # one of a batch may change
    assert not Drift(1e-4, 0.9, 2).is_small
    assert not Drift(2e-3, 1.0, 0).is_small
    ruled_out = Signals(torch.tensor([[1.0, -torch.inf]]))
    assert drift(ruled_out, ruled_out).kl == 0


def test_channels_last_lays_the_weights_out_until_it_closes(net, x):
    expected = copy.deepcopy(net)(x)
    bytes_before = net.body.weight.detach().clone()
    teacher = tl.FrozenTeacher(net, channels_last=True)
    seen = []
    net.body.register_forward_pre_hook(
        lambda module, args: seen.append(args[0].is_contiguous(memory_format=torch.channels_last))
    )
    torch.testing.assert_close(teacher(x).logits, expected)
    assert all(seen)
    assert net.body.weight.is_contiguous(memory_format=torch.channels_last)
    teacher.close()
    assert net.body.weight.is_contiguous()
    assert torch.equal(net.body.weight, bytes_before)
    kept = copy.deepcopy(net).to(memory_format=torch.channels_last)
    tl.FrozenTeacher(kept, channels_last=True).close()
    assert kept.body.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_compiled_teacher_gives_the_same_signals_and_is_never_left_midway(net, x):
    exact = tl.FrozenTeacher(copy.deepcopy(net))
    teacher = tl.FrozenTeacher(net, compile="eager")
    for one in (exact, teacher):
        one.provide(["body"])
    for ask in (teacher, teacher.only_taps, teacher):
        found, expected = ask(x), exact(x)
        assert torch.equal(found.logits, expected.logits)
        assert torch.equal(found.taps["body"], expected.taps["body"])
    assert "engine" not in dict(teacher.named_tensors())
    again = pickle.loads(pickle.dumps(teacher))
    again.freeze()
    assert torch.equal(again(x).logits, exact(x).logits)
    teacher.close()


def test_a_plain_teacher_has_no_engine(net):
    assert tl.FrozenTeacher(net).engine is None
    with pytest.raises(InputError, match=r"FrozenTeacher.precision: expected one of auto, bf16"):
        tl.FrozenTeacher(net, precision="fp8")
    with pytest.raises(InputError, match="expected one of auto, bf16, found 'fp8'"):
        tl.FrozenTeacher(net, precision="fp8", compile=True)
