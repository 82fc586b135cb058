import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from tutelage.errors import TapError
from tutelage.taps import Taps


class Net(nn.Module):
    """Two convolutions, then a head; `order` names the layers that run."""

    def __init__(self, inplace=False, order=("conv", "bn", "relu", "deep")):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=inplace)
        self.deep = nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU(inplace=inplace))
        self.head = nn.Linear(5, 2)
        self.order = order

    def forward(self, x):
        for name in self.order:
            x = self.get_submodule(name)(x)
        return self.head(x.mean((2, 3)))


class Call(nn.Module):
    """A module whose forward is a function: `inner` is what it may call."""

    def __init__(self, function, **inner):
        super().__init__()
        self.function = function
        for name, module in inner.items():
            self.add_module(name, module)

    def forward(self, *args, **kwargs):
        return self.function(self, *args, **kwargs)


def images():
    return torch.randn(2, 3, 8, 8)


def hooks_of(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_taps_are_the_tensors_of_the_layers_in_the_order_asked_for():
    net, x = Net(), images()
    with Taps(net, ["deep", "conv", "conv"]) as taps:
        net(x)
        read = taps.read()
    conv = net.conv(x)
    assert list(read) == ["deep", "conv"] == list(taps.names)
    torch.testing.assert_close(read["conv"], conv)
    torch.testing.assert_close(read["deep"], net.deep(net.relu(net.bn(conv))))


def test_an_input_tap_reads_what_the_layer_receives():
    net, x = Net(), images()
    with Taps(net, ["head:in", "deep"]) as taps:
        net(x)
        read = taps.read()
    torch.testing.assert_close(read["head:in"], read["deep"].mean((2, 3)))


def test_an_input_tap_takes_the_first_tensor_of_several_arguments():
    inner = Call(lambda self, flag, x, y: x + y)
    model = Call(lambda self, x: self.inner(True, x, x * 2), inner=inner)
    with Taps(model, ["inner:in"]) as taps:
        model(torch.ones(2))
        assert torch.equal(taps.read()["inner:in"], torch.ones(2))


def test_gradients_through_a_tap_are_exact():
    net, x = Net().double(), images().double()
    with Taps(net, ["bn"]) as taps:
        net(x)
        taps.read()["bn"].square().sum().backward()
    found = net.conv.weight.grad
    (expected,) = torch.autograd.grad(net.bn(net.conv(x)).square().sum(), net.conv.weight)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_in_place_layers_never_corrupt_a_tap(training):
    x = images().double()
    net = Net(inplace=True).double().train(training)
    plain = Net(inplace=False).double().train(training)
    plain.load_state_dict(net.state_dict())
    names = ["conv", "bn", "bn", "relu:in", "relu", "deep.0", "deep"]
    with Taps(net, names) as taps, Taps(plain, names) as expected:
        for _ in range(3):  # the first forward decides how the later ones are kept
            net(x)
            plain(x)
            read, wanted = taps.read(), expected.read()
            for name, tensor in read.items():
                torch.testing.assert_close(tensor, wanted[name], rtol=0, atol=0)
            mine, other = (
                torch.autograd.grad(sum(t.square().sum() for t in tensors.values()), w)
                for tensors, w in ((read, net.conv.weight), (wanted, plain.conv.weight))
            )
            torch.testing.assert_close(mine, other)


def test_a_tensor_that_nobody_overwrites_is_handed_out_itself_after_one_read():
    outputs = []
    net = Net(inplace=True)
    net.conv.register_forward_hook(lambda module, args, output: outputs.append(output))
    net.bn.register_forward_hook(lambda module, args, output: outputs.append(output))
    with Taps(net, ["conv", "bn"]) as taps:
        for first in (True, False):
            outputs.clear()
            net(images())
            read = taps.read()
            assert (read["conv"] is outputs[0]) is not first
            assert read["bn"] is not outputs[1]  # the in-place ReLU would overwrite it


def test_eval_says_nothing_about_training():
    inner = {"fc": nn.Linear(4, 4), "drop": nn.Dropout(0.9, inplace=True)}
    model = Call(lambda self, x: self.drop(self.fc(x)), **inner)
    x = torch.randn(8, 4)
    with Taps(model, ["fc"]) as taps:
        for training in (False, False, True, True):
            model.train(training)(x)
            torch.testing.assert_close(taps.read()["fc"], model.fc(x))


def test_an_overwrite_that_starts_late_is_an_error_once_and_then_copied():
    net, x = Net(), images()
    with Taps(net, ["bn"]) as taps:
        for _ in range(2):
            net(x)
            taps.read()
        net.relu.inplace = True
        net(x)
        with pytest.raises(TapError, match=r"'bn'.*overwritten in place.*run the step again"):
            taps.read()
        net(x)
        torch.testing.assert_close(taps.read()["bn"], net.bn(net.conv(x)))


def test_inference_mode_works():
    net, x = Net(inplace=True).eval(), images()
    with Taps(net, ["bn"]) as taps, torch.inference_mode():
        for _ in range(2):
            net(x)
            torch.testing.assert_close(taps.read()["bn"], net.bn(net.conv(x)))


def test_the_latest_forward_wins_and_unread_forwards_hold_no_memory():
    net = Net()
    seen = []
    net.conv.register_forward_hook(lambda m, args, output: seen.append(weakref.ref(output)))
    with Taps(net, ["conv"]) as taps:
        for _ in range(5):
            last = images()
            with torch.no_grad():
                net(last)
        gc.collect()
        assert [ref() is not None for ref in seen] == [False] * 4 + [True]
        torch.testing.assert_close(taps.read()["conv"], net.conv(last))


def test_reading_empties_the_store():
    net = Net()
    with Taps(net, ["conv"]) as taps:
        net(images())
        taps.read()
        with pytest.raises(TapError, match="did not run since the last read"):
            taps.read()


def test_a_failed_read_empties_the_store_too():
    net = Net(order=("conv", "bn", "deep"))
    with Taps(net, ["conv", "relu"]) as taps:
        net(images())
        for fault in ("'relu'", "'conv'"):
            with pytest.raises(TapError, match=fault):
                taps.read()


def test_an_unknown_layer_gets_close_matches_and_leaves_no_hook():
    net = Net()
    match = r"Taps: expected a layer of Net, found no 'convv'; did you mean 'conv'\?.*list_layers"
    with pytest.raises(TapError, match=match) as caught:
        Taps(net, ["bn", "convv"])
    assert caught.value.exit_code == 2
    assert hooks_of(net) == 0


@pytest.mark.parametrize("name", ["", ":in"])
def test_the_whole_model_is_no_layer(name):
    with pytest.raises(TapError, match="the model's own output or input"):
        Taps(Net(), [name])


def test_a_bare_string_is_refused():
    with pytest.raises(TapError, match=r"pass \['conv'\]"):
        Taps(Net(), "conv")


def test_a_compiled_model_is_refused():
    with pytest.raises(TapError, match="make the taps first and compile afterwards"):
        Taps(torch.compile(Net(), backend="eager"), ["conv"])


def test_a_layer_that_did_not_run_is_an_error():
    net = Net(order=("conv", "bn", "deep"))
    with Taps(net, ["relu"]) as taps:
        net(images())
        with pytest.raises(TapError, match=r"tap 'relu': .* it did not run"):
            taps.read()


def test_a_layer_that_ran_twice_is_an_error_that_names_its_block():
    block = Call(lambda self, x: self.act(self.fc(self.act(x))), act=nn.ReLU(), fc=nn.Linear(3, 3))
    model = nn.Sequential(block)
    with Taps(model, ["0.act"]) as taps:
        model(torch.randn(2, 3))
        match = r"tap '0\.act': .* ran more than once .* the block around it \('0'\)"
        with pytest.raises(TapError, match=match):
            taps.read()


def test_one_module_under_two_names_is_read_by_either():
    shared = nn.Linear(3, 3)
    model = Call(lambda self, x: self.a(x), a=shared, b=shared)
    with Taps(model, ["b"]) as taps:
        x = torch.randn(2, 3)
        model(x)
        torch.testing.assert_close(taps.read()["b"], shared(x))


@pytest.mark.parametrize(
    ("function", "described"),
    [
        (lambda self, x: (self.fc(x), x), r"tuple of \['Tensor \[2, 3\]', 'Tensor \[2, 3\]'\]"),
        (lambda self, x: {"a": self.fc(x)}, r"dict with keys \['a'\]"),
        (lambda self, x: None, "NoneType"),
    ],
)
def test_an_output_that_is_no_tensor_is_described(function, described):
    model = Call(lambda self, x: self.block(x), block=Call(function, fc=nn.Linear(3, 3)))
    with Taps(model, ["block"]) as taps:
        model(torch.randn(2, 3))
        with pytest.raises(TapError, match=rf"found {described}; .* inside it: 'block\.fc'"):
            taps.read()


def test_an_input_given_by_keyword_only_is_an_error():
    model = Call(lambda self, x: self.inner(x=x), inner=Call(lambda self, x: x))
    with Taps(model, ["inner:in"]) as taps:
        model(torch.ones(2))
        with pytest.raises(TapError, match="expected a positional tensor input, found none"):
            taps.read()


def test_closing_removes_every_hook_and_may_be_repeated():
    net = Net()
    taps = Taps(net, ["conv", "head:in"])
    assert hooks_of(net) == 3
    taps.close()
    taps.close()
    assert hooks_of(net) == 0
    with pytest.raises(TapError, match="found them closed"):
        taps.read()


def test_hooks_are_removed_after_an_exception():
    net = Net()
    with pytest.raises(RuntimeError), Taps(net, ["conv"]):
        net(torch.randn(2, 7, 8, 8))
    assert hooks_of(net) == 0


def test_hooks_of_others_survive():
    net, calls = Net(), []
    net.conv.register_forward_hook(lambda *args: calls.append(1))
    Taps(net, ["conv"]).close()
    net(images())
    assert calls == [1]


def unpickle(pair):
    return pickle.loads(pickle.dumps(pair))


@pytest.mark.parametrize("copied", [copy.deepcopy, unpickle])
def test_a_copy_with_its_taps_reads_the_copy_and_not_the_original(copied):
    net, x, y = Net(), images(), images()
    with Taps(net, ["conv", "head:in"]) as taps:
        net(x)  # a store with graph tensors in it must not hinder the copy
        other, others_taps = copied((net, taps))
        other(y)
        found, others = taps.read()["conv"], others_taps.read()["conv"]
        torch.testing.assert_close(found, net.conv(x))
        torch.testing.assert_close(others, net.conv(y))
        others_taps.close()
        assert (hooks_of(other), hooks_of(net)) == (0, 3)


def test_a_copy_of_the_model_alone_does_not_write_into_the_original():
    net, x = Net(), images()
    with Taps(net, ["conv"]) as taps:
        net(x)
        copy.deepcopy(net)(images())
        torch.testing.assert_close(taps.read()["conv"], net.conv(x))


def test_averaged_models_tap_themselves():
    net, x = Net(), images()
    with Taps(net, ["conv"]) as taps:
        net(x)
        average = torch.optim.swa_utils.AveragedModel(net)
        average(images())
        torch.testing.assert_close(taps.read()["conv"], net.conv(x))


@pytest.mark.parametrize("whole", [False, True])
def test_activation_checkpointing_gives_exact_gradients_and_refills_nothing(whole):
    def run(net, x, recompute):
        if not recompute:
            return net(x)
        if whole:
            return checkpoint(net, x, use_reentrant=False)
        body = nn.Sequential(net.conv, net.bn, net.relu, net.deep)
        return net.head(checkpoint(body, x, use_reentrant=False).mean((2, 3)))

    x, grads = images().double(), []
    net = Net(inplace=True).double().eval()
    with Taps(net, ["bn", "deep.0"]) as taps:
        for recompute in (False, True, True):
            out = run(net, x, recompute)
            read = taps.read(require_grad=True)
            loss = out.sum() + sum(tensor.square().sum() for tensor in read.values())
            grads.append(torch.autograd.grad(loss, list(net.parameters())))
            with pytest.raises(TapError, match="did not run"):
                taps.read()
    for again in grads[1:]:
        torch.testing.assert_close(again, grads[0], rtol=1e-12, atol=1e-12)


def test_reentrant_checkpointing_is_refused_where_a_gradient_is_required():
    net, x = Net(), images().requires_grad_()
    with Taps(net, ["conv"]) as taps:
        for required in (False, True):
            checkpoint(nn.Sequential(net.conv, net.bn), x, use_reentrant=True)
            if not required:
                assert not taps.read()["conv"].requires_grad
                continue
            with pytest.raises(TapError, match=r"'conv'.*reentrant.*use_reentrant=False"):
                taps.read(require_grad=True)


def test_a_frozen_layer_is_refused_where_a_gradient_is_required():
    net = Net()
    net.conv.requires_grad_(False)
    with Taps(net, ["conv"]) as taps:
        net(images())
        with pytest.raises(TapError, match="all layers up to it are frozen"):
            taps.read(require_grad=True)


def test_no_gradient_is_required_while_gradients_are_off_or_nothing_trains():
    net = Net()
    with Taps(net, ["conv"]) as taps:
        with torch.no_grad():
            net(images())
            taps.read(require_grad=True)
        net.requires_grad_(False)
        net(images())
        assert not taps.read(require_grad=True)["conv"].requires_grad


def test_repr_names_the_layers_and_tells_when_closed():
    taps = Taps(Net(), ["conv"])
    assert repr(taps) == "Taps(['conv'])"
    taps.close()
    assert repr(taps) == "Taps(['conv'], closed)"
