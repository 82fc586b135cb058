"""Kill labelling passes with SIGKILL at random moments, let the last one finish, and say so.

``python killed_labelling.py OUT BUILDS KILLS`` prints one JSON object. Each build is killed KILLS
times. The moments are drawn over the time that an uninterrupted pass takes.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

import tutelage as tl
from tutelage.cache import Reader
from tutelage.data import DataSpec, ShiftFlip, TensorImages
from tutelage.training.labelling import label


class Slow(nn.Module):
    """A net that leaves time to be killed in every batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 20))

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.002)
        return self.head(x)


def images() -> TensorImages:
    pixels = torch.randint(0, 256, (1500, 1, 8, 8), dtype=torch.uint8)
    names = tuple(f"class {number}" for number in range(20))
    spec = DataSpec("noise", 20, names, 1, (8, 8), (0.5,), (0.3,))
    return TensorImages(pixels, torch.arange(1500) % 20, spec, transform=ShiftFlip(1))


def build(folder: Path, teacher: tl.FrozenTeacher, data: TensorImages) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # five of twenty classes hold too little
        label(teacher, data, folder, views=3, top_k=5, temperatures=(4.0,), batch_size=32)


def killed_after(seconds: float, folder: Path, *rest: object) -> bool:
    """Build in a child that is killed after a while; return whether it was still at work."""
    child = os.fork()
    if child == 0:
        build(folder, *rest)
        os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def rows_done(folder: Path) -> int:
    """Return how many rows a reader would find."""
    try:
        reader = Reader(folder, partial=True)
    except ValueError:
        return 0
    views = range(reader.layout.views)
    return sum(int(reader.read(reader.ids, v, absent="mask").present.sum()) for v in views)


def bytes_of(folder: Path) -> dict[str, str]:
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    return {name: one for name, one in found.items() if name != ".lock"}


def main(out: Path, builds: int, kills: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    teacher, data, draw = tl.FrozenTeacher(Slow()), images(), random.Random(7)
    start = time.perf_counter()
    build(out / "whole", teacher, data)
    seconds, expected = time.perf_counter() - start, bytes_of(out / "whole")
    killed, found, equal = [], [], []
    for number in range(builds):
        folder = out / f"kept{number}"
        for _ in range(kills):
            after = draw.uniform(0, 1.1) * seconds / kills
            killed.append(killed_after(after, folder, teacher, data))
            found.append(rows_done(folder))
        build(folder, teacher, data)
        equal.append(bytes_of(folder) == expected)
    print(json.dumps({"killed": killed, "rows": found, "equal": equal, "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
