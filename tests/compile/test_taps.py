import pytest
import torch
from torch import nn

from tutelage.taps import Taps


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Wrapper(nn.Module):
    def __init__(self, model, names):
        super().__init__()
        self.model = model
        self.taps = Taps(model, names)

    def forward(self, x):
        return self.model(x), self.taps.read(require_grad=True)


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Linear(6, 2)
    ).double()


NAMES = ["0", "1", "3:in"]


def outcome(wrapper, x):
    wrapper.zero_grad()
    out, taps = wrapper(x)
    (out.sum() + sum(tensor.square().sum() for tensor in taps.values())).backward()
    grads = [parameter.grad.clone() for parameter in wrapper.parameters()]
    return out.detach(), {name: tensor.detach() for name, tensor in taps.items()}, grads


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_wrapper_compiles_into_one_graph_with_exact_values_and_gradients(backend):
    plain, wrapper = Wrapper(net(), NAMES), Wrapper(net(), NAMES)
    compiled = torch.compile(wrapper, backend=backend, fullgraph=True)
    for _ in range(3):
        x = torch.randn(8, 4, dtype=torch.float64)
        torch.testing.assert_close(outcome(compiled, x), outcome(plain, x))


def test_steps_do_not_recompile():
    frames = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(Wrapper(net(), NAMES), backend=frames, fullgraph=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(5):
            outcome(compiled, torch.randn(8, 4, dtype=torch.float64))
    assert frames.frame_count == 1


def test_eager_steps_before_and_between_compiled_ones_do_not_recompile():
    wrapper = Wrapper(net(), NAMES)
    frames = torch._dynamo.testing.CompileCounter()
    compiled = torch.compile(wrapper, backend=frames, fullgraph=True)
    for _ in range(3):
        x = torch.randn(8, 4, dtype=torch.float64)
        first = outcome(wrapper, x)
        torch.testing.assert_close(outcome(compiled, x), first)
    assert frames.frame_count == 1


def test_the_model_alone_may_be_compiled_and_read_outside():
    plain, model = Wrapper(net(), NAMES), net()
    frames = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    with Taps(model, NAMES) as taps:
        compiled = torch.compile(model, backend=frames, fullgraph=True)
        for _ in range(4):
            x = torch.randn(8, 4, dtype=torch.float64)
            compiled(x)
            _, expected = plain(x)
            torch.testing.assert_close(taps.read(), expected)
    assert frames.frame_count == 1


def test_forwards_that_nobody_reads_do_not_recompile():
    model = net().eval()
    frames = torch._dynamo.testing.CompileCounter()
    with Taps(model, NAMES), torch.no_grad():
        compiled = torch.compile(model, backend=frames, fullgraph=True)
        for _ in range(4):
            compiled(torch.randn(8, 4, dtype=torch.float64))
    assert frames.frame_count <= 2  # an empty store, then a full one
