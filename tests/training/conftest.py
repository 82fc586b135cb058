"""A small world to train in: three classes of blurred 6x6 images, and nets that learn them."""

from collections.abc import Callable, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

import tutelage as tl
from tutelage.data import DataSpec, Splits, TensorImages, make_splits
from tutelage.runs import RunFolder


class Net(nn.Module):
    """One convolution and a head: with a layer to tap."""

    def __init__(self, width: int = 4, seed: int = 0, *, norm: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Conv2d(1, width, 3, padding=1)
            self.norm = nn.BatchNorm2d(width) if norm else nn.Identity()
            self.relu = nn.ReLU()
            self.drop = nn.Dropout(0.1 if norm else 0.0)
            self.head = nn.Linear(width * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.relu(self.norm(self.body(x)))).flatten(1))


def images(count: int, seed: int, first_id: int = 0) -> TensorImages:
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 3
    means = torch.linspace(0.2, 0.8, 3)[targets].view(-1, 1, 1, 1)
    ramp = torch.linspace(0, 1, 6).view(1, 1, 6, 1)
    pixels = (means * ramp + 0.3 * torch.rand(count, 1, 6, 6, generator=generator)).clamp(0, 1)
    spec = DataSpec("ramps", 3, ("a", "b", "c"), 1, (6, 6), (0.4,), (0.3,))
    ids = torch.arange(first_id, first_id + count)
    return TensorImages(pixels, targets, spec, ids=ids, pixel_max=1.0)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Nets this small lose more to threads than they win."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def splits() -> Splits:
    return make_splits(images(56, seed=1), images(30, seed=2, first_id=1000), validation=16)


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder.create(tmp_path, "run")


@pytest.fixture
def net() -> Callable[..., Net]:
    return Net


@pytest.fixture
def distiller() -> Callable[..., tl.Distiller]:
    """A distiller with every kind of term, or with the given ones."""

    def make(
        terms: Sequence[tl.Term] | None = None, seed: int = 0, *, norm: bool = False
    ) -> tl.Distiller:
        teacher = tl.FrozenTeacher(Net(8, seed=99, norm=norm))
        chosen = terms or [
            tl.Term(tl.CELoss(), 0.5),
            tl.Term(tl.KDLoss(temperature=2.0), 0.5),
            tl.Term(tl.HintLoss(), 0.1, at=("relu", "relu"), via="auto"),
        ]
        needs = any(term.needs_teacher for term in chosen)
        return tl.Distiller(Net(4, seed=seed, norm=norm), teacher if needs else None, chosen)

    return make
