"""A wiring that trains without an error and teaches nothing: what `tutelage check` says of it.

    tutelage check docs/counter_example.py:wiring     names each fault and exits with 2
    tutelage check docs/counter_example.py:mended     passes

A big net and a small one get new heads for a data set of ten classes; the small one learns from
the big one's logits and, through a 1x1 convolution, from its third layer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import tutelage as tl
from tutelage import data, models

DIGITS = data.load("digits", seed=0)


def net(widths: tuple[int, ...]) -> nn.Module:
    """Return a net with a new head."""
    return models.create("small_cnn", num_classes=10, in_channels=1, size=(8, 8), widths=widths)


def batches() -> list[tuple[Tensor, Tensor]]:
    """Return a few labelled batches."""
    images = DIGITS.labelled.__getitems__(range(256))
    return list(zip(images.inputs.split(64), images.target.split(64), strict=True))


def train(model: nn.Module, epochs: int) -> nn.Module:
    """Train a net on the labels alone."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(epochs):
        for inputs, target in batches():
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), target).backward()
            optimizer.step()
    return model


def accuracy(model: nn.Module) -> float:
    """Return the share of validation images that a net gets right."""
    images = DIGITS.validation.__getitems__(range(len(DIGITS.validation)))
    with torch.no_grad():
        return (model.eval()(images.inputs).argmax(1) == images.target).float().mean().item()


def wiring() -> tl.Wiring:
    """Return what many a tutorial wires."""
    torch.manual_seed(0)
    teacher, student = net((16, 32)).eval(), net((8, 16))
    teacher.requires_grad_(False)  # 1. its new head is frozen before anything has trained it
    projector = nn.Conv2d(32, 16, 1)  # on the teacher's side: it may learn to say nothing
    optimizer = torch.optim.SGD(student.parameters(), 0.01, momentum=0.9)  # 2. no projector in it
    taps = tl.Taps(teacher, ["stage2"]), tl.Taps(student, ["stage2"])

    def loss(inputs: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = teacher(inputs)
        logits = student(inputs)
        theirs, mine = (tap.read()["stage2"] for tap in taps)
        soft = F.kl_div((logits / 3).log_softmax(1), (wanted / 3).softmax(1), reduction="batchmean")
        hint = F.mse_loss(mine, projector(theirs))
        return 0.5 * 9 * soft + 0.5 * F.cross_entropy(logits, target) + 0.5 * hint

    # 3. nobody has trained the student alone, so nobody knows what the teacher is good for
    return tl.Wiring(
        optimizer,
        batches(),
        student=student,
        teacher=teacher,
        loss=loss,
        modules={"projector": projector},
    )


def mended() -> tl.Wiring:
    """Return the same, wired to teach."""
    torch.manual_seed(0)
    teacher = tl.FrozenTeacher(train(net((16, 32)), epochs=8))
    terms = [
        tl.Term(tl.CELoss(), 0.5),
        tl.Term(tl.KDLoss(temperature=3.0), 0.5),
        tl.Term(tl.HintLoss(), 0.5, at="stage2", via="auto"),  # a projector of the student's
    ]
    distiller = tl.Distiller(net((8, 16)), teacher, terms, example=batches()[0][0])
    optimizer = torch.optim.SGD(distiller.parameters(), 0.01, momentum=0.9)  # projector and all
    alone = accuracy(train(net((8, 16)), epochs=8))
    return tl.Wiring(optimizer, batches(), distiller=distiller, baseline=alone)
