"""Three students in one run: the teacher looks at each batch once, and all of them learn from it.

For images that are new in every epoch, of which no cache could hold the answers.
"""

import torch

import tutelage as tl
from tutelage import data, models
from tutelage.training import evaluate

WIDTHS = (16, 32, 64)

splits = data.load("digits", labelled=300, seed=0)
kind = {"num_classes": 10, "in_channels": 1, "size": splits.spec.size}
images = splits.labelled.__getitems__(range(len(splits.labelled)))


def train(distillers: list[tl.Distiller], steps: int) -> None:
    """Train all of them on the same batches."""
    optimisers = [torch.optim.Adam(one.parameters(), lr=3e-3) for one in distillers]
    for _ in range(steps):
        places = torch.randint(len(images), (50,))
        x, y = images.inputs[places], images.target[places]
        x += 0.1 * torch.randn_like(x)  # never the same again
        for distiller, optimiser in zip(distillers, optimisers, strict=True):
            optimiser.zero_grad()
            distiller(x, y).loss.backward()  # only the first of them asks the teacher
            optimiser.step()


torch.manual_seed(0)
big = models.create("mlp", widths=[256, 256], **kind)
train([tl.Distiller(big, None, [tl.CELoss()])], steps=200)
print(f"teacher: {evaluate(big, splits.test).accuracy:.1%}")

passes: list[int] = []
big.register_forward_hook(lambda module, args, output: passes.append(1))
teacher = tl.SharedTeacher(tl.FrozenTeacher(big))
terms = [[tl.Term(tl.CELoss(), 0.1), tl.Term(tl.KDLoss())] for _ in WIDTHS]
students = [models.create("mlp", widths=[width], **kind) for width in WIDTHS]
distillers = [
    tl.Distiller(student, teacher, own) for student, own in zip(students, terms, strict=True)
]
train(distillers, steps=200)
print(f"{len(students) * 200} steps of students, {len(passes)} passes of the teacher")
for width, student in zip(WIDTHS, students, strict=True):
    print(f"student of width {width}: {evaluate(student, splits.test).accuracy:.1%}")
