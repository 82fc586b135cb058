"""What a user of fasterai's distillation writes now: a callback on a fastai Learner, on digits."""

import torch
from fastai.callback.progress import ProgressCallback
from fastai.callback.schedule import Learner  # with fit_one_cycle
from fastai.data.core import DataLoaders, TfmdDL
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastai.torch_core import set_seed

import tutelage as tl
from tutelage.adapters.fastai import (
    Attention,
    KnowledgeDistillationCallback,
    SoftTarget,
    agp,
    match_feature_layers,
)
from tutelage.data import load
from tutelage.models import create


def rows(images: object) -> list[tuple[torch.Tensor, int]]:
    batch = images.__getitems__(range(len(images)))
    return list(zip(batch.inputs, batch.target, strict=True))


def learner(train: list, valid: list, *widths: int) -> Learner:
    set_seed(0)  # the same initial weights and batches for every student
    model = create("small_cnn", widths=widths, num_classes=10, in_channels=1, size=(8, 8))
    loaders = DataLoaders(TfmdDL(train, bs=32, shuffle=True), TfmdDL(valid, bs=100)).to("cpu")
    made = Learner(loaders, model, CrossEntropyLossFlat(), metrics=accuracy)
    return made.remove_cbs(ProgressCallback)


def main(epochs: int = 25) -> dict[str, float]:
    data, results = load("digits", labelled=100), {}
    few, valid = rows(data.labelled), rows(data.validation)[:100]
    teacher = learner(rows(data.train), valid, 32, 64)
    teacher.fit_one_cycle(3, 1e-2)
    # The callback's activations_* take such lists too; terms compare logits and layers at once.
    layers = match_feature_layers(learner(few, valid, 16, 32).model, teacher.model, few[0][0][None])
    pairs = zip(layers["student"], layers["teacher"], strict=True)
    terms = [tl.Term(SoftTarget(T=4)), *(tl.Term(Attention(), 10.0, at=pair) for pair in pairs)]
    kd = KnowledgeDistillationCallback(teacher, terms, weight=0.9, schedule=agp)
    test = TfmdDL(rows(data.test), bs=500, device="cpu")
    for name, callbacks in (("alone", []), ("distilled", [kd])):
        student = learner(few, valid, 16, 32)
        with student.no_logging():
            student.fit_one_cycle(epochs, 3e-2, cbs=callbacks)
        last = zip(student.recorder.metric_names[1:-1], student.recorder.values[-1], strict=True)
        print(name, *(f"{column} {value:.3f}" for column, value in last))
        results[name] = student.validate(dl=test)[1]
    return results


if __name__ == "__main__":
    for name, value in main().items():
        print(f"{name:<14} {100 * value:.1f}% of the test images (one seed)")
