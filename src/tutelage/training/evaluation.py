"""Evaluation: the student alone, in eval mode, on the plain task. Never the mixed loss."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage import metrics
from tutelage.data import ImageData, loader
from tutelage.errors import NumericalError
from tutelage.signals import call, logits_of
from tutelage.teachers import Teacher
from tutelage.training.guard import shown
from tutelage.training.modes import eval_mode


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
        NumericalError: If logits are not finite; it names the samples. -inf, with which a class
            is masked out, is allowed beside finite ones.
    """
    outputs, answers, targets = [], [], []
    with eval_mode(model) if isinstance(model, nn.Module) else nullcontext():
        batches = loader(data.plain(), batch_size, seed=0, epoch=0, shuffle=False, workers=workers)
        for batch in batches:
            on_device = batch.to(device, non_blocking=True)
            outputs.append(_logits(model, on_device.inputs, on_device.ids))
            targets.append(on_device.target)
            if teacher is not None:
                answers.append(_logits(teacher, on_device.inputs, on_device.ids))
    logits, target = torch.cat(outputs), torch.cat(targets)
    others = torch.cat(answers) if teacher is not None else None
    _check_finite(logits, data.ids, "model")
    if others is not None:
        _check_finite(others, data.ids, "teacher")
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


def _check_finite(logits: Tensor, ids: Tensor, whose: str) -> None:
    """Raise if a softmax is undefined: NaN, +inf, or no class left. -inf masks a class out."""
    if logits.ndim != 2:
        return  # the metrics say what they expect
    bad = ~logits.float().logsumexp(dim=-1).isfinite()
    if bad.any():
        raise NumericalError(
            f"evaluation: expected finite logits, found others from the {whose} for samples "
            f"{shown(ids[bad.cpu()])}; check these images and its weights"
        )
