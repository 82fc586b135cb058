"""What each process of test_deit.py runs; alone it is the reference.

``python deit.py OUT`` or under torchrun: each process then has half of the batch.
"""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import tutelage as tl
from tutelage.adapters.deit import CosubLoss, DistillationLoss
from tutelage.models import create
from tutelage.training import open_ranks

SAMPLES, C = 8, 5


def models() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    images = {"num_classes": C, "in_channels": 1, "size": (14, 14)}
    student = create("distilled_vit", patch=7, width=16, depth=2, heads=2, **images)
    return student.double(), create("small_cnn", widths=(4, 8), **images).double()


def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(SAMPLES, 1, 14, 14, dtype=torch.float64), torch.randint(C, (SAMPLES,))


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {
        name.removeprefix("module."): p.grad.clone()
        for name, p in module.named_parameters()
        if p.grad is not None
    }


def token_and_hint(x: Tensor, y: Tensor, *, wrap: bool) -> dict[str, Any]:
    """The distillation token's term beside a hint from the tokens to the teacher's map."""
    student, teacher = models()
    torch.manual_seed(2)
    projector = tl.TokensToMap(16, 8, (2, 2), prefix_tokens=2, out_size=(7, 7)).double()
    terms = [
        tl.Term(tl.CELoss(), 0.5),
        tl.Term(tl.HardLabelLoss(), 0.5, at=("output:1", None)),
        tl.Term(tl.HintLoss(), 0.3, at=("blocks.1", "stage2"), via=projector),
    ]
    distiller = tl.Distiller(student, tl.FrozenTeacher(teacher), terms, example=x[:2])
    module = DistributedDataParallel(distiller) if wrap else distiller
    losses = []
    for _ in range(2):  # the second backward shows whether a process waits for a parameter
        module.zero_grad()
        step = module(x, y)
        step.loss.backward()
        losses.append(step.loss.item())
    return {"losses": losses, "gradients": gradients(module)}


def criterion(kind: str, x: Tensor, y: Tensor, *, wrap: bool) -> dict[str, Any]:
    """DeiT's own way: the student alone in DDP, the criterion beside it."""
    student, teacher = models()
    base: Any = CosubLoss() if kind == "cosub" else nn.CrossEntropyLoss()
    share = {"none": 0.5, "all": 1.0}.get(kind, 0.3)
    made = (
        DistillationLoss(base)
        if kind == "none"
        else DistillationLoss(base, teacher, "soft" if kind == "soft" else "hard", share)
    )
    module = DistributedDataParallel(student) if wrap else student
    losses = []
    for _ in range(2):
        module.zero_grad()
        images = torch.cat([x, x]) if kind == "cosub" else x
        loss = made(images, module(images), y)
        loss.backward()
        losses.append(loss.item())
    return {"losses": losses, "gradients": gradients(module)}


def main(out: Path) -> None:
    torch.set_num_threads(1)
    with open_ranks("cpu") as ranks:
        wrap = ranks.world_size > 1
        half = SAMPLES // ranks.world_size
        piece = slice(ranks.rank * half, (ranks.rank + 1) * half)
        x, y = (tensor[piece] for tensor in batch())
        found = {"hint": token_and_hint(x, y, wrap=wrap)}
        for kind in ("soft", "hard", "none", "all", "cosub"):
            found[kind] = criterion(kind, x, y, wrap=wrap)
        torch.save(found, out / f"{ranks.world_size}-{ranks.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
