"""Distillation in your own loop: one teacher, one student, digits, about ten seconds."""

import torch
from torch import nn

import tutelage as tl
from tutelage.data import load, loader
from tutelage.models import create


def train(distiller: tl.Distiller, images: object, *, epochs: int) -> None:
    optimiser = torch.optim.Adam(distiller.parameters(), lr=3e-3)
    distiller.train()
    for epoch in range(epochs):
        for batch in loader(images, 32, seed=0, epoch=epoch):
            optimiser.zero_grad()
            distiller(batch.inputs, batch.target, batch.ids).loss.backward()
            optimiser.step()


@torch.no_grad()
def accuracy(model: nn.Module, images: object) -> float:
    model.eval()
    batches = list(loader(images, 500, seed=0, epoch=0, shuffle=False))
    hits = sum((model(b.inputs).argmax(-1) == b.target).sum().item() for b in batches)
    return hits / sum(len(b.target) for b in batches)


def main(epochs: int = 60) -> dict[str, float]:
    torch.manual_seed(0)
    data = load("digits", labelled=100)
    make = {"num_classes": 10, "in_channels": 1, "size": data.spec.size}

    teacher = create("mlp", widths=(256, 256), **make)
    train(tl.Distiller(teacher, None, [tl.CELoss()]), data.train, epochs=epochs // 4)

    results = {"teacher": accuracy(teacher, data.test)}
    arms = {"student alone": None, "distilled": tl.FrozenTeacher(teacher)}
    for name, frozen in arms.items():
        torch.manual_seed(1)  # the same initial weights for both
        student = create("mlp", widths=(32,), **make)
        terms = [tl.Term(tl.CELoss(), 0.1 if frozen else 1.0)]
        if frozen:
            terms.append(tl.Term(tl.KDLoss(temperature=4.0), 0.9))
        with tl.Distiller(student, frozen, terms) as distiller:
            train(distiller, data.labelled, epochs=2 * epochs)
        results[name] = accuracy(student, data.test)
    return results


if __name__ == "__main__":
    for name, value in main().items():
        print(f"{name:<14} {100 * value:.1f}% of the test images (one seed: run `tutelage demo`)")
