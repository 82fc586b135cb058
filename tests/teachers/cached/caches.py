"""A small cache for tests: three views of two dozen images, and the teacher it was made from."""

from pathlib import Path

import torch
from torch import Tensor, nn

from tutelage.cache import Layout, TapSpec, Writer, encode, marks_of
from tutelage.teachers import FrozenTeacher

SAMPLES, VIEWS, CLASSES = 24, 3, 6
IDS = torch.arange(SAMPLES) * 7 + 3
TAPS = (TapSpec("body", (4, 6, 6)), TapSpec("pool", (4, 1, 1)))
IDENTITY = {"teacher": {"sha256": "ab12", "arch": "net"}, "preprocessing": {"mean": [0.5]}}


class Net(nn.Module):
    """A body whose map is tapped, and a head."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(width, CLASSES)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.pool(self.norm(self.body(x)).relu()).flatten(1))


def net(width: int = 4, seed: int = 1) -> Net:
    torch.manual_seed(seed)
    model = Net(width)
    nn.init.normal_(model.head.weight, std=2.0)
    return model


def images(view: int) -> Tensor:
    """All images in one of their random versions."""
    base = torch.randn(SAMPLES, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(SAMPLES, 1, 6, 6, generator=torch.Generator().manual_seed(9 + view))
    return base + 0.5 * noise


def layout(**options: object) -> Layout:
    wanted = {"num_classes": CLASSES, "dtype": "fp32", "taps": TAPS, "views": VIEWS, **options}
    return Layout(**wanted)  # type: ignore[arg-type]


def fill(path: Path, plan: Layout, *, rows: slice = slice(None), batch_size: int = 8) -> Path:
    """Write a cache of the teacher's answers, of some samples only if ``rows`` says so."""
    teacher = FrozenTeacher(net())
    teacher.provide([tap.name for tap in plan.taps])
    writer = Writer.create(path, plan, IDS.numpy(), IDENTITY)
    for view in range(plan.views):
        for places in torch.arange(SAMPLES)[rows].split(batch_size):
            some = images(view)[places]
            columns = encode(plan, teacher(some), IDS[places].numpy())
            writer.write(places.numpy(), view, columns, marks_of(some).numpy())
    if rows == slice(None):
        writer.finish({})
    else:
        writer.close()
    return path
