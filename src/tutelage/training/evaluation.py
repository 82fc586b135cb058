"""Evaluation: the student alone, in eval mode, on the plain task. Never the mixed loss."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage import metrics
from tutelage.data import ImageData, loader
from tutelage.signals import call, logits_of
from tutelage.teachers import Teacher


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on one data set; fractions from 0 to 1, divergences in nats.

    Args:
        accuracy: Top-1.
        nll: Mean negative log likelihood.
        ece: Expected calibration error over 15 bins.
        agreement: Share of samples on which it predicts the teacher's class.
        kl: Mean ``KL(teacher || model)`` at temperature 1.
        n: Number of samples.
    """

    accuracy: float
    nll: float
    ece: float
    agreement: float | None
    kl: float | None
    n: int

    def record(self) -> dict[str, float | int | None]:
        """Return the numbers as the run log holds them."""
        return dict(self.__dict__)


@torch.no_grad()
def evaluate(
    model: nn.Module | Teacher,
    data: ImageData,
    *,
    device: torch.device | str = "cpu",
    batch_size: int = 256,
    workers: int = 0,
    teacher: Teacher | None = None,
) -> Evaluation:
    """Evaluate ``model`` on all of ``data``, without augmentation, and leave it as it was.

    Args:
        model: A module, or a teacher to be evaluated itself. It must be on ``device``.
        data: What to evaluate on.
        device: Where to compute.
        batch_size: Samples per forward pass; it does not change the result.
        workers: Processes that load the data.
        teacher: Whom to compare with, in agreement and divergence.

    Raises:
        InputError: If there are no samples.
        ShapeError: If the logits of model and teacher differ in shape.
    """
    outputs, answers, targets = [], [], []
    with _in_eval_mode(model):
        batches = loader(data.plain(), batch_size, seed=0, epoch=0, shuffle=False, workers=workers)
        for batch in batches:
            on_device = batch.to(device, non_blocking=True)
            outputs.append(_logits(model, on_device.inputs, on_device.ids))
            targets.append(on_device.target)
            if teacher is not None:
                answers.append(_logits(teacher, on_device.inputs, on_device.ids))
    logits, target = torch.cat(outputs), torch.cat(targets)
    others = torch.cat(answers) if teacher is not None else None
    return Evaluation(
        accuracy=metrics.accuracy(logits, target).item(),
        nll=metrics.nll(logits, target).item(),
        ece=metrics.ece(logits, target).item(),
        agreement=None if others is None else metrics.agreement(logits, others).item(),
        kl=None if others is None else metrics.kl_to_teacher(logits, others).item(),
        n=len(target),
    )


def _logits(model: nn.Module | Teacher, inputs: Tensor, ids: Tensor) -> Tensor:
    if isinstance(model, Teacher):
        return logits_of(model(inputs, ids), "teacher")
    return logits_of(call(model, inputs), "model")


@contextmanager
def _in_eval_mode(model: nn.Module | Teacher) -> Iterator[None]:
    """Put a module into eval mode and give each part its own mode back."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [(module, module.training) for module in modules]
    for module in modules[:1]:
        module.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
