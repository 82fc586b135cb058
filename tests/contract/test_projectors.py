"""The projector that a loss names is one that joins student and teacher for it, and trains."""

import copy
from typing import Any

import pytest
import torch
from records import record_of
from torch import Tensor, nn

from tutelage import projectors
from tutelage.losses import Loss, index

TOKENS = (10, 4), (10, 6)
# What the projectors of features take: the student's shape and the teacher's, batch aside.
SHAPES = {
    "bottleneck": ((4, 5, 5), (6, 5, 5)),
    "conv": ((4, 5, 5), (6, 5, 5)),
    "linear": ((4,), (6,)),
    "masked_generation": ((4, 5, 5), (6, 5, 5)),
    "mlp_conv": ((4, 5, 5), (6, 5, 5)),
    "orthogonal": ((4,), (6,)),
    "review_fusion": ((4, 5, 5), (6, 5, 5)),
    "token_generation": TOKENS,
    "translator": ((4, 5, 5), (6, 5, 5)),
}
PROJECTED = sorted(
    name for name, kind in index().items() if kind.compares == "features" and kind.projector
)


def is_of_tokens(kind: type[Loss]) -> bool:
    """Whether a loss is one of the family of tokens."""
    return ".tokens." in kind.__module__


def joined(name: str) -> tuple[Loss, nn.Module, Any, Any]:
    """Return a loss, the projector of its paper, and what both models give."""
    kind = index()[name]
    assert kind.projector is not None
    torch.manual_seed(0)
    shapes = TOKENS if is_of_tokens(kind) else SHAPES[kind.projector]
    mine, theirs = ([torch.randn(8, *shape) for _ in range(3)] for shape in shapes)
    student, teacher = (mine, theirs) if kind.takes_layers else (mine[0], theirs[0])
    make = projectors.index()[kind.projector].between
    if kind.takes_layers and not projectors.index()[kind.projector].takes_layers:
        projector: nn.Module = Each(
            make(s, t, **kind.projector_options) for s, t in zip(mine, theirs, strict=True)
        )
    else:
        projector = make(student, teacher, **kind.projector_options)
    loss = (record_of(name).make or kind)()
    if not getattr(loss, "is_sized", True):
        with torch.no_grad():
            loss.size_for(copy.deepcopy(projector)(student), teacher)
    return loss, projector, student, teacher


class Each(nn.ModuleList):
    """One projector for each layer."""

    def forward(self, layers: list[Tensor]) -> list[Tensor]:
        """Return what each makes of its layer."""
        return [module(layer) for module, layer in zip(self, layers, strict=True)]


def value_of(loss: Loss, projected: Any, teacher: Any) -> Tensor:
    ids = (torch.zeros(8, dtype=torch.int64), torch.arange(8))
    value: Tensor = loss(projected, teacher, *(ids if loss.needs_ids else ids[:1]))
    return value


@pytest.mark.parametrize("name", PROJECTED)
def test_a_few_steps_move_every_part_of_the_projector_and_lower_the_loss(name: str) -> None:
    loss, projector, student, teacher = joined(name)
    before = copy.deepcopy(dict(projector.named_parameters()))
    optimiser = torch.optim.Adam(projector.parameters(), lr=0.003)
    torch.manual_seed(1)
    first = value_of(copy.deepcopy(loss), projector(student), teacher)
    for _ in range(15):
        optimiser.zero_grad()
        value_of(loss, projector(student), teacher).backward()
        optimiser.step()
    torch.manual_seed(1)
    assert value_of(copy.deepcopy(loss), projector(student), teacher) < first
    still = [n for n, p in projector.named_parameters() if (p == before[n]).all()]
    assert not still


@pytest.mark.parametrize("name", PROJECTED)
def test_its_state_goes_round_through_another_one(name: str) -> None:
    _, projector, student, _ = joined(name)
    projector(student)
    other = copy.deepcopy(projector)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(projector.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(student), projector.eval()(student))
