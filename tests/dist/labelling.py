"""Label 1,500 images in three views, in one process or under torchrun; try what must fail too.

``python labelling.py OUT`` writes the cache to ``OUT/kept`` and a report of each process.
"""

import json
import sys
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

import tutelage as tl
from tutelage.data import DataSpec, ShiftFlip, TensorImages
from tutelage.errors import TutelageError
from tutelage.training import open_ranks
from tutelage.training.labelling import label


class Net(nn.Module):
    """A small net; one kind of image it cannot bear."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Conv2d(1, 4, 3, padding=1)
        self.head = nn.Linear(4 * 64, 20)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.head(self.body(x).relu().flatten(1))
        return logits + torch.where(x.flatten(1).amin(1, keepdim=True) > 1.5, torch.nan, 0.0)


def images() -> TensorImages:
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (1500, 1, 8, 8), dtype=torch.uint8)
    names = tuple(f"class {number}" for number in range(20))
    spec = DataSpec("noise", 20, names, 1, (8, 8), (0.5,), (0.3,))
    return TensorImages(pixels, torch.arange(1500) % 20, spec, transform=ShiftFlip(1))


def failure_of(teacher: tl.FrozenTeacher, data: TensorImages, path: Path) -> str:
    try:
        label(teacher, data, path, views=1)
    except TutelageError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def main(out: Path) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", UserWarning)  # five of twenty classes hold too little
    with open_ranks("cpu") as ranks:
        done = label(
            tl.FrozenTeacher(Net(0)), images(), out / "kept", views=3, top_k=5, batch_size=64
        )
        again = label(tl.FrozenTeacher(Net(0)), images(), out / "kept", views=3, top_k=5)
        report = {
            "written": done.written,
            "again": again.written,
            "manifest": done.manifest.render().decode(),
            "others": failure_of(tl.FrozenTeacher(Net(ranks.rank)), images(), out / "others"),
        }
        spoiled = images().plain()
        spoiled._images[1400] = 255  # belongs to the last range, of which the main process has none
        report["nan"] = failure_of(tl.FrozenTeacher(Net(0)), spoiled, out / "nan")
        (out / f"rank{ranks.rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
