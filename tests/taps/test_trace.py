import pytest
import torch
from torch import nn

from tutelage.taps import layer_shapes


class Rude(nn.Module):
    """Writes a buffer and draws random numbers in eval, and fails on request."""

    def __init__(self, fail=False):
        super().__init__()
        self.bn = nn.BatchNorm1d(3)
        self.frozen = nn.BatchNorm1d(3).eval()
        self.register_buffer("calls", torch.zeros(1))
        self.fail = fail

    def forward(self, x, scale=1):
        self.calls += 1
        x = self.frozen(self.bn(x)) + torch.randn_like(x) * scale
        if self.fail:
            raise RuntimeError("on request")
        return x


def state(model):
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes = [module.training for module in model.modules()]
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    return buffers, modes, hooks, torch.get_rng_state()


@pytest.mark.parametrize("fail", [False, True])
def test_the_model_is_left_as_it_was(fail):
    model = Rude(fail).train()
    model.frozen.eval()
    before = state(model)
    if fail:
        with pytest.raises(RuntimeError, match="on request"):
            layer_shapes(model, torch.randn(4, 3, generator=torch.Generator()))
    else:
        layer_shapes(model, torch.zeros(4, 3))
    after = state(model)
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][name], after[0][name]) for name in before[0])
    assert before[1:3] == after[1:3]
    assert torch.equal(before[3], after[3])


@pytest.mark.parametrize(
    "inputs", [torch.zeros(4, 3), (torch.zeros(4, 3), 0), {"x": torch.zeros(4, 3), "scale": 0}]
)
def test_inputs_may_be_a_tensor_a_tuple_or_a_dict(inputs):
    assert layer_shapes(Rude(), inputs) == {"bn": (4, 3), "frozen": (4, 3)}


def test_layers_without_a_tensor_are_left_out_and_a_failing_train_method_is_not_called():
    class Stubborn(nn.LSTM):
        def train(self, mode=True):
            raise AssertionError("must not be called")

    model = nn.Sequential(nn.Linear(2, 2), nn.LSTM(2, 2))
    model[1].__class__ = Stubborn
    assert layer_shapes(model, torch.zeros(5, 1, 2)) == {"0": (5, 1, 2)}


def test_buffers_that_a_forward_replaces_are_put_back():
    class Replacing(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))
            self.register_buffer("seen", None)
            self.body = nn.Linear(2, 2)

        def forward(self, x):
            self.calls = self.calls + 1
            self.seen = x
            self.register_buffer("added", x)
            return self.body(x)

    model = Replacing()
    calls = model.calls
    layer_shapes(model, torch.zeros(4, 2))
    assert model.calls is calls
    assert model.seen is None
    assert set(model._buffers) == {"calls", "seen"}
