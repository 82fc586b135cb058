"""Optimisers and learning-rate schedulers of torch, by the closed names of the settings."""

from collections.abc import Iterable

from torch import nn, optim
from torch.optim import lr_scheduler

from tutelage.errors import InputError
from tutelage.training.settings import TrainingSettings


def build_optimizer(
    parameters: Iterable[nn.Parameter], settings: TrainingSettings
) -> optim.Optimizer:
    """Return the optimiser over all ``parameters`` that require a gradient.

    One group, one learning rate, and weight decay on everything, biases and norms included: what
    ``torch.optim`` does when it is left alone.

    Raises:
        InputError: If nothing requires a gradient.
    """
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    if not trainable:
        raise InputError(
            "training: expected parameters that require a gradient, found none; "
            "unfreeze the student with student.requires_grad_(True)"
        )
    lr, decay = settings.lr, settings.weight_decay
    if settings.optimizer == "sgd":
        return optim.SGD(trainable, lr, momentum=settings.momentum, weight_decay=decay)
    if settings.optimizer == "adam":
        return optim.Adam(trainable, lr, weight_decay=decay)
    return optim.AdamW(trainable, lr, weight_decay=decay)


def build_scheduler(
    optimizer: optim.Optimizer, settings: TrainingSettings, total_steps: int
) -> lr_scheduler.LRScheduler:
    """Return the scheduler to step once after each optimiser step.

    Over ``n = total_steps``, at step ``t`` from 0, times the learning rate:

    - ``none``: 1
    - ``cosine``: ``(1 + cos(pi t / n)) / 2``
    - ``linear``: ``1 - t / n``
    - ``step``: ``gamma`` to the power of the number of ``milestones`` passed

    and all times ``min(1, (t + 1) / (w + 1))`` for a warm-up of ``w`` steps.
    """
    # Chained rather than sequential: factors multiply, so the warm-up needs no second time axis.
    warmup = settings.warmup_steps
    schedulers: list[lr_scheduler.LRScheduler] = [
        lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), 1.0, total_iters=warmup)
        if warmup
        else lr_scheduler.ConstantLR(optimizer, 1.0, total_iters=0)
    ]
    if settings.scheduler == "cosine":
        schedulers.append(lr_scheduler.CosineAnnealingLR(optimizer, T_max=total_steps))
    elif settings.scheduler == "linear":
        schedulers.append(lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=total_steps))
    elif settings.scheduler == "step":
        drops = [round(fraction * total_steps) for fraction in settings.milestones]
        schedulers.append(lr_scheduler.MultiStepLR(optimizer, drops, gamma=settings.gamma))
    return lr_scheduler.ChainedScheduler(schedulers)
