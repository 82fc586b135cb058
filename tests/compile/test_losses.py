"""Every loss compiles into one graph, and the compiled value and gradient are the eager ones."""

import copy

import pytest
import torch
from records.cases import Batch, Case, call, obeys, of_logits

from tutelage.losses import KDLoss

pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler's own, which are not ours to fix


@pytest.fixture(autouse=True)
def fresh():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def value_and_gradient(loss, batch: Batch):
    batch = batch.leaf()
    value = call(loss, batch)
    value.backward()
    return value.detach(), batch.gradients()


def check(case: Case, backend: str) -> None:
    batch = case.batch(dtype=torch.float32)
    loss = case.loss(batch)
    compiled = torch.compile(copy.deepcopy(loss), fullgraph=True, backend=backend)
    torch.testing.assert_close(value_and_gradient(compiled, batch), value_and_gradient(loss, batch))


@obeys("compile")
def test_the_compiled_loss_equals_the_eager_one(case: Case) -> None:
    check(case, "eager")  # one graph, of which the rest of the compiler is the same for all


@pytest.mark.parametrize("name", ["kd", "dkd", "jsd", "at", "vid", "reviewkd", "rkd", "topk"])
def test_so_does_its_graph_of_forward_and_backward(name: str) -> None:
    check(Case(name), "aot_eager")


@obeys("compile")
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_so_does_the_code_of_every_backend(case: Case, backend: str) -> None:
    check(case, backend)


@obeys("compile", where=lambda case: of_logits(case) and "dropped" not in case.record.exempt)
@pytest.mark.slow
def test_dropped_positions_compile_into_the_same_graph(case: Case) -> None:
    batch = case.batch(dtype=torch.float32)
    loss = case.loss(batch)
    compiled = torch.compile(copy.deepcopy(loss), fullgraph=True, backend="aot_eager")
    value_and_gradient(compiled, batch)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for dropped in (1, len(batch.target)):
            batch.target[:dropped] = -100
            torch.testing.assert_close(
                value_and_gradient(compiled, batch), value_and_gradient(loss, batch)
            )


def test_a_moving_temperature_does_not_recompile():
    loss = KDLoss(temperature=lambda step: 1.0 + step)
    batch = Case("kd").batch(dtype=torch.float32)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    values = [call(compiled, batch)]
    with torch._dynamo.config.patch(error_on_recompile=True):
        for step in (1, 5):
            loss.set_step(step)
            values.append(call(compiled, batch))
    expected = [call(KDLoss(temperature=t), batch) for t in (1.0, 2.0, 6.0)]
    torch.testing.assert_close(values, expected)
