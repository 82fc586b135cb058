"""From tensorlogic-train: its three distillation losses, with gradients, in a training loop.

DistillationLoss::new(3.0, 0.7, hard)            tl.shares(0.7): tl.CELoss, tl.KDLoss(temperature=3)
FeatureDistillationLoss::new(vec![0.3, 0.7], p)  tl.LayersLoss(weights=(0.3, 0.7), power=p)
AttentionTransferLoss::new(2.0)                  tl.ATLoss(power=2, norm="sum")
"""

import torch

import tutelage as tl
from tutelage.data import load, loader
from tutelage.models import create


def fit(distiller: tl.Distiller, images: object, epochs: int) -> dict[str, float]:
    optimiser = torch.optim.Adam(distiller.parameters(), lr=3e-3)
    parts: dict[str, float] = {}
    for epoch in range(epochs):
        for batch in loader(images, 50, seed=0, epoch=epoch):
            optimiser.zero_grad()
            step = distiller(batch.inputs, batch.target, batch.ids)
            step.loss.backward()
            optimiser.step()
        means = {name: float(value) for name, value in step.parts.items()}
        print(f"epoch {epoch + 1}: " + ", ".join(f"{k} {v:.4f}" for k, v in means.items()))
        parts = means
    return parts


def main(epochs: int = 4) -> dict[str, float]:
    torch.manual_seed(0)
    images = load("digits").train
    make = {"num_classes": 10, "in_channels": 1, "size": (8, 8)}
    teacher = create("small_cnn", widths=(16, 32), **make)
    student = create("small_cnn", widths=(8, 16), **make)
    print("the teacher")
    fit(tl.Distiller(teacher, None, [tl.CELoss()]), images, epochs)

    task, distillation = tl.shares(0.7)  # alpha: refused outside 0 to 1, as is a temperature of 0
    pairs = [("stage1", "stage1"), ("stage2", "stage2")]
    terms = [
        tl.Term(tl.CELoss(), task),
        tl.Term(tl.KDLoss(temperature=3.0), distillation),
        tl.Term(tl.LayersLoss(weights=(0.3, 0.7), power=2), at=pairs, via="auto"),
        tl.Term(tl.ATLoss(power=2, norm="sum"), 100.0, at=("stage1", "stage1")),
    ]
    print("the student")
    example = images.__getitems__([0, 1]).inputs  # projectors have their widths from it
    with tl.Distiller(student, tl.FrozenTeacher(teacher), terms, example=example) as distiller:
        return fit(distiller, images, epochs)


if __name__ == "__main__":
    main()
