"""A small learner, a teacher that counts its forwards, and what the tests look at in them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn


class Net(nn.Module):
    def __init__(self, width: int, seed: int, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
        self.body = nn.Conv2d(width, width, 3, padding=1)
        self.head = nn.Linear(width, 4)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.body(self.norm(self.stem(x)).relu()).relu().mean((2, 3)))


@pytest.fixture
def net() -> type[Net]:
    return Net


@pytest.fixture
def teacher() -> Net:
    return Net(6, seed=1)


@pytest.fixture
def loaders() -> Callable[..., Any]:
    from fastai.data.core import DataLoaders
    from fastai.data.load import DataLoader

    def make(count: int = 16, bs: int = 8, shuffle: bool = False, inputs: int = 1) -> DataLoaders:
        torch.manual_seed(7)
        x = [torch.randn(count, 3, 8, 8) for _ in range(inputs)]
        rows = list(zip(*x, torch.randint(4, (count,)), strict=True))
        train, valid = (DataLoader(rows, bs=bs, shuffle=s) for s in (shuffle, False))
        made = DataLoaders(train, valid, device=torch.device("cpu"))
        made.n_inp = inputs
        return made

    return make


@pytest.fixture
def learner(loaders, tmp_path) -> Iterator[Callable[..., Any]]:
    """Make learners that show no bars; ``learner(*callbacks, model=..., **options of Learner)``."""
    from fastai.callback.progress import ProgressCallback
    from fastai.learner import Learner
    from fastai.losses import CrossEntropyLossFlat

    def make(*callbacks: Any, model: nn.Module | None = None, dls: Any = None, **more: Any) -> Any:
        model = model or Net(4, seed=2)
        more = {"loss_func": CrossEntropyLossFlat(), "lr": 0.01, "path": tmp_path, **more}
        learn = Learner(dls or loaders(), model, cbs=list(callbacks), **more)
        learn.remove_cbs(ProgressCallback)
        learn.logger = lambda row: None
        return learn

    return make


@pytest.fixture
def hooks() -> Callable[[nn.Module], int]:
    """Count the forward hooks and pre-hooks in a model."""

    def count(model: nn.Module) -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())

    return count
