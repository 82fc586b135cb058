"""The whole distiller under torch.compile: one graph, the same numbers, no recompiling per step."""

import copy

import pytest
import torch
from torch import Tensor, nn

import tutelage as tl

pytestmark = pytest.mark.filterwarnings("ignore")


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, width, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.relu(self.body(x)).mean((2, 3)))


def make(weight: float | tl.Linear = 0.9) -> tl.Distiller:
    torch.manual_seed(0)
    terms = [
        tl.Term(tl.CELoss(), 0.1),
        tl.Term(tl.KDLoss(temperature=4.0), weight),
        tl.Term(tl.HintLoss(), 2.0, at=("body", "body"), via="auto"),
    ]
    teacher = tl.FrozenTeacher(Net(6))
    return tl.Distiller(Net(4), teacher, terms, example=torch.randn(2, 1, 6, 6))


def test_a_compiled_step_is_one_graph_and_equals_the_eager_one() -> None:
    torch._dynamo.reset()
    eager = make()
    compiled = copy.deepcopy(eager)
    graphs = torch.compile(compiled, fullgraph=True, backend="aot_eager")
    x, y = torch.randn(4, 1, 6, 6), torch.tensor([0, 1, 2, 0])
    for _ in range(2):
        expected, step = eager(x, y), graphs(x, y)
        torch.testing.assert_close(step.loss, expected.loss)
        torch.testing.assert_close(dict(step.parts), dict(expected.parts))
        expected.loss.backward()
        step.loss.backward()
    for a, b in zip(eager.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_schedules_move_without_recompiling() -> None:
    torch._dynamo.reset()
    distiller = make(tl.Linear(0.0, 1.0, steps=10))
    counter = torch._dynamo.testing.CompileCounterWithBackend("eager")
    compiled = torch.compile(distiller, fullgraph=True, backend=counter)
    x, y = torch.randn(4, 1, 6, 6), torch.tensor([0, 1, 2, 0])
    totals = []
    for count in range(6):
        distiller.set_step(count)
        step = compiled(x, y)
        totals.append(step.loss.item())
        parts = {name: value.item() for name, value in step.parts.items()}
        expected = 0.1 * parts["ce"] + count / 10 * parts["kd"] + 2.0 * parts["hint"]
        assert totals[-1] == pytest.approx(expected, rel=1e-5)
    assert len(set(totals)) == 6
    assert counter.frame_count == 1
