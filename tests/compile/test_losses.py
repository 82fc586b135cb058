"""Every loss compiles into one graph, and the compiled value and gradient are the eager ones."""

import pytest
import torch

from tutelage.losses import KDLoss, index

pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler's own, which are not ours to fix

LOSSES = sorted(index())


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    torch.manual_seed(0)
    yield
    torch.compiler.reset()


def batch(loss):
    shape = (4, 5) if loss.compares == "logits" else (2, 3, 4, 4)
    student, teacher = torch.randn(2, *shape)
    return student, teacher, torch.randint(shape[1], shape[:1])


def value_and_gradient(function, student, teacher, target):
    student = student.clone().requires_grad_()
    value = function(student, teacher, target)
    value.backward()
    return value.detach(), student.grad


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_the_compiled_loss_equals_the_eager_one(name, backend):
    loss = index()[name]()
    inputs = batch(loss)
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    torch.testing.assert_close(
        value_and_gradient(compiled, *inputs), value_and_gradient(loss, *inputs)
    )


@pytest.mark.parametrize("name", [n for n in LOSSES if index()[n].compares == "logits"])
def test_dropped_positions_compile_into_the_same_graph(name):
    loss = index()[name]()
    student, teacher, target = batch(loss)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    value_and_gradient(compiled, student, teacher, target)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for dropped in (1, 4):
            target[:dropped] = -100
            torch.testing.assert_close(
                value_and_gradient(compiled, student, teacher, target),
                value_and_gradient(loss, student, teacher, target),
            )


def test_a_moving_temperature_does_not_recompile():
    loss = KDLoss(temperature=lambda step: 1.0 + step)
    student, teacher, target = batch(loss)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    values = [compiled(student, teacher, target)]
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in (1, 5):
            loss.set_step(step)
            values.append(compiled(student, teacher, target))
    expected = [KDLoss(temperature=t)(student, teacher, target) for t in (1.0, 2.0, 6.0)]
    torch.testing.assert_close(values, expected)
