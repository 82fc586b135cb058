"""Tiny models of timm, in float64 where numbers are compared."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def net() -> Callable[..., nn.Module]:
    """``net("test_resnet", seed=1)``: a model of ten classes for images of 32 pixels."""

    def make(name: str = "test_resnet", *, seed: int = 0, **options: Any) -> nn.Module:
        torch.manual_seed(seed)
        if "vit" in name or "deit" in name:
            options = {"img_size": 32, **options}
        if "deit" in name:
            options = {"depth": 1, "embed_dim": 48, **options}
        return timm.create_model(name, **{"num_classes": 10, **options})

    return make


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(4, 3, 32, 32), torch.randint(10, (4,))


@pytest.fixture
def twins(net) -> Callable[..., Any]:
    """Student and teacher, twice, equal and in float64."""

    def make(student: str, teacher: str) -> Any:
        pair = net(student, seed=1).double(), net(teacher, seed=2).double()
        return pair, copy.deepcopy(pair)

    return make
