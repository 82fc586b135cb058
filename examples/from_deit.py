"""From DeiT: its criterion in its engine's loop, with a distillation token, a few seconds.

DeiT's `from losses import DistillationLoss` becomes the import below; the loop is its engine's.
"""

import torch
from torch import nn

import tutelage as tl
from tutelage.adapters.deit import DistillationLoss
from tutelage.data import load, loader
from tutelage.models import create


def train_one_epoch(model, criterion, images, optimiser, epoch) -> None:
    model.train()
    criterion.train()  # which does not reach the teacher
    for samples, targets, _ in loader(images, 32, seed=0, epoch=epoch):
        loss = criterion(samples, model(samples), targets)  # in training: (cls, dist)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: object) -> float:
    model.eval()  # the average of both heads
    (batch,) = loader(images, len(images), seed=0, epoch=0, shuffle=False)
    return 100 * (model(batch.inputs).argmax(-1) == batch.target).float().mean().item()


def main(epochs: int = 10) -> dict[str, float]:
    torch.manual_seed(0)
    data = load("digits", labelled=200)
    make = {"num_classes": 10, "in_channels": 1, "size": data.spec.size}

    teacher = create("small_cnn", widths=(16, 32), **make)
    adam = torch.optim.AdamW(teacher.parameters(), 1e-2)
    for epoch in range(3):
        train_one_epoch(teacher, DistillationLoss(tl.CELoss()), data.train, adam, epoch)
    found = {"teacher": accuracy(teacher, data.test)}

    for kind in ("none", "soft", "hard"):
        learns = kind != "none"
        torch.manual_seed(1)
        model = create("distilled_vit", patch=4, width=32, depth=2, distilled=learns, **make)
        criterion = DistillationLoss(tl.CELoss(), teacher if learns else None, kind, 0.5, tau=3.0)
        adam = torch.optim.AdamW(model.parameters(), 3e-3)
        for epoch in range(epochs):
            train_one_epoch(model, criterion, data.labelled, adam, epoch)
        found[kind] = accuracy(model, data.test)
        print(kind, {name: round(value.item(), 3) for name, value in criterion.parts.items()})
        criterion.close()
    return found


if __name__ == "__main__":
    for name, value in main().items():
        print(f"{name:<8} {value:.1f}% of the test images")
