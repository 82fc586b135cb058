import math

import pytest
import torch
from torch import nn

from tutelage.errors import InputError
from tutelage.training import TrainingSettings
from tutelage.training.optimisers import build_optimizer, build_scheduler


def rates(**options: object) -> list[float]:
    settings = TrainingSettings(steps=10, lr=2.0, **options)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer([parameter], settings)
    scheduler = build_scheduler(optimizer, settings, 10)
    seen = []
    for _ in range(10):
        seen.append(optimizer.param_groups[0]["lr"])
        parameter.grad = torch.ones(1)
        optimizer.step()
        scheduler.step()
    return seen


def expected(scheduler: str, warmup: int) -> list[float]:
    factors = {
        "none": lambda t: 1.0,
        "cosine": lambda t: (1 + math.cos(math.pi * t / 10)) / 2,
        "linear": lambda t: 1 - t / 10,
        "step": lambda t: 0.5 ** ((t >= 3) + (t >= 8)),
    }
    return [2.0 * factors[scheduler](t) * min(1, (t + 1) / (warmup + 1)) for t in range(10)]


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("scheduler", ["none", "cosine", "linear", "step"])
def test_learning_rate_follows_its_formula(scheduler: str, warmup: int) -> None:
    found = rates(scheduler=scheduler, warmup_steps=warmup, milestones=(0.3, 0.8), gamma=0.5)
    assert found == pytest.approx(expected(scheduler, warmup))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)],
)
def test_optimiser_gets_its_settings_and_only_what_trains(name: str, kind: type) -> None:
    net = nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    settings = TrainingSettings(steps=1, optimizer=name, lr=0.3, weight_decay=0.1, momentum=0.8)
    optimizer = build_optimizer(net.parameters(), settings)
    group = optimizer.param_groups[0]
    assert type(optimizer) is kind
    assert group["params"] == [net.weight]
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.1)
    assert group.get("momentum", 0.8) == 0.8


def test_nothing_to_train_is_an_error() -> None:
    net = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(InputError, match="parameters that require a gradient, found none"):
        build_optimizer(net.parameters(), TrainingSettings(steps=1))
