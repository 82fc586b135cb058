"""What each process of test_fastai_learner.py runs; alone it is the reference.

``python fastai_learner.py OUT`` or under torchrun: fastai then gives each process half the samples.
"""

import sys
from pathlib import Path

import torch
from fastai.callback.core import Callback
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders, TfmdDL
from fastai.distributed import DistributedDL, DistributedTrainer
from fastai.learner import Learner
from torch import Tensor, distributed, nn

import tutelage as tl
from tutelage.adapters.fastai import FitNet, KnowledgeDistillationCallback, SoftTarget
from tutelage.training import open_ranks

SAMPLES = 8


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3)
        self.body = nn.Conv2d(width, width, 3)
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x).relu()).relu().mean((2, 3)))


class Keep(Callback):
    """Keep the gradients of the first step."""

    order = 40

    def __init__(self, kd: KnowledgeDistillationCallback, student: nn.Module) -> None:
        self.kd, self.student = kd, student
        self.found: dict[str, object] = {}

    def after_backward(self) -> None:
        if not self.found:
            self.found = {
                "model": type(self.learn.model).__name__,
                "projector": [p.grad.clone() for p in self.kd.objective.parameters()],
                "student": [p.grad.clone() for p in self.student.parameters()],
            }


def on_cpu(self: DistributedDL, indices: list[int], rank: int) -> list[int]:
    """Send the order of the samples: what fastai does on CUDA alone."""
    box = torch.tensor(indices)
    distributed.broadcast(box, rank)
    return box.tolist()


def build() -> tuple[Learner, Keep]:
    torch.manual_seed(0)
    student, teacher = Net(4), Net(6)
    x, y = torch.randn(SAMPLES, 3, 8, 8), torch.randint(4, (SAMPLES,))
    rows = list(zip(x, y, strict=True))
    size = SAMPLES // max(distributed.get_world_size() if distributed.is_initialized() else 1, 1)
    loaders = DataLoaders(*(TfmdDL(rows, bs=size) for _ in range(2))).to("cpu")
    hint = tl.Term(FitNet(), 3.0, at="body", via="auto")
    kd = KnowledgeDistillationCallback(teacher, [hint, tl.Term(SoftTarget(T=3))], weight=0.6)
    keep = Keep(kd, student)
    learn = Learner(loaders, student, nn.CrossEntropyLoss(), lr=0.01, cbs=[kd, keep])
    learn.remove_cbs(ProgressCallback)
    learn.logger = lambda row: None
    return learn, keep


def main(out: Path) -> None:
    torch.set_num_threads(1)
    DistributedDL._broadcast = on_cpu
    with open_ranks("cpu") as ranks:
        learn, keep = build()
        keys = list(learn.model.state_dict())
        torch.manual_seed(1 + ranks.rank)  # DDP gives all the first process's projector
        if ranks.world_size > 1:
            learn.add_cb(DistributedTrainer(sync_bn=False, cpu=True))
        learn.fit(2)
        found = {
            **keep.found,
            "objective": keep.kd.objective.state_dict(),
            "weights": [p.detach().clone() for p in learn.model.parameters()],
            "bare": list(learn.model.state_dict()) == keys,
            "values": list(learn.recorder.values[-1]),
        }
        torch.save(found, out / f"{ranks.world_size}-{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
