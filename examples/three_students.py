"""One pass of the teacher, three students: its answers are kept on disk and read by each."""

import tempfile
from pathlib import Path

import torch
from torch import nn

import tutelage as tl
from tutelage import data, models
from tutelage.training import TrainingSettings, evaluate, fit, label

splits = data.load("digits", labelled=300, augment="shift", seed=0)
kind = {"num_classes": 10, "in_channels": 1, "size": splits.spec.size}


def trained(teacher: tl.Teacher | None, model: nn.Module, settings: TrainingSettings) -> float:
    """Train a model, with the answers of a teacher or on labels alone; return its accuracy."""
    terms = [tl.CELoss()] if teacher is None else [tl.Term(tl.CELoss(), 0.1), tl.KDLoss()]
    with tl.Distiller(model, teacher, terms) as distiller:
        return fit(distiller, splits, settings, seed=0).last.test.accuracy


torch.manual_seed(0)
big = models.create("mlp", widths=[256, 256], **kind)
trained(None, big, TrainingSettings(steps=600, batch_size=50, lr=3e-3))
teacher = tl.FrozenTeacher(big)
print(f"teacher: {evaluate(teacher, splits.test).accuracy:.1%}")

with tempfile.TemporaryDirectory() as folder:
    # Four random views of each image; the answers about them take 46 bytes each.
    made = label(teacher, splits.train, Path(folder) / "cache", views=4)
    print(f"kept {made.rows:,} answers in {made.seconds:.1f} s")
    settings = TrainingSettings(steps=400, batch_size=50, lr=3e-3)
    for width in (16, 32, 64):
        cached = tl.CachedTeacher(made.path)  # the training shows the views that it holds
        student = models.create("mlp", widths=[width], **kind)
        accuracy = trained(cached, student, settings)
        print(f"student of width {width}: {accuracy:.1%}, the teacher was not asked again")
