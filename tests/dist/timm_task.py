"""What each process of test_timm_task.py runs; alone it is the reference.

``python timm_task.py OUT`` or under torchrun: the batch is then split in halves.
"""

import sys
from pathlib import Path

import timm
import torch
from torch import nn

from tutelage.adapters.timm import FeatureDistillationTask
from tutelage.training import open_ranks

SAMPLES = 8


def main(out: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    make = {"num_classes": 10, "img_size": 32}  # both with layer norms: no statistics of batches
    student = timm.create_model("test_vit", **make).double()
    teacher = timm.create_model("test_vit4", **make).double()
    x = torch.randn(2, SAMPLES, 3, 32, 32, dtype=torch.float64)
    y = torch.randint(10, (2, SAMPLES))
    with open_ranks("cpu") as ranks:
        torch.manual_seed(1 + ranks.rank)  # DDP gives all the first process's projector
        task = FeatureDistillationTask(
            student, teacher, nn.CrossEntropyLoss(), distill_loss_weight=3.0, verbose=False
        )
        piece = slice(None)
        if ranks.world_size > 1:
            task.prepare_distributed()
            half = SAMPLES // 2
            piece = slice(ranks.rank * half, (ranks.rank + 1) * half)
        task.train()
        objective = task._distiller.objective
        with task.no_sync():  # the first of two small batches
            task(x[0, piece], y[0, piece])["loss"].backward()
        apart = [p.grad.clone() for p in objective.parameters()]
        task(x[1, piece], y[1, piece])["loss"].backward()
        found = {
            "apart": apart,
            "projector": [p.grad for p in objective.parameters()],
            "student": {name: p.grad for name, p in student.named_parameters()},
            "weights": objective.state_dict(),
            "keys": list(task.get_checkpoint_state()["state_dict"]),
            "eval": type(task.get_eval_model()).__name__,
        }
        torch.save(found, out / f"{ranks.world_size}-{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
