"""What the losses take as the target, also where MixUp or CutMix has mixed the batch."""

from typing import Any

import torch
from fastai.callback.mixup import MixHandler
from fastai.learner import Learner
from torch import Tensor
from torch.nn import functional as F

from tutelage.signals import logits_of


def target_of(learn: Learner, output: Any) -> Tensor | None:
    """Return the target of the learner's batch, or ``None`` where there is not exactly one.

    fastai's mixing leaves class indices as they are and changes the loss function instead; its
    mixed target is made up for here, as probabilities ``[B, C]``.
    """
    if len(learn.yb) != 1 or not isinstance(learn.yb[0], Tensor):
        return None
    target = learn.yb[0].as_subclass(Tensor)
    mixer = next((cb for cb in learn.cbs if _mixes(cb, learn)), None)
    if mixer is None:
        return target
    other = mixer.yb1[0].as_subclass(Tensor)
    logits = logits_of(output, "student")
    axis = -1 if logits.shape[:-1] == target.shape else 1
    mine, others = (F.one_hot(y, logits.shape[axis]).to(logits.dtype) for y in (target, other))
    lam = mixer.lam.to(logits.dtype)
    if lam.ndim and lam.numel() > 1:
        lam = lam.view(-1, *[1] * (mine.ndim - 1))
    return torch.lerp(others, mine, lam.as_subclass(Tensor))


def _mixes(callback: Any, learn: Learner) -> bool:
    return isinstance(callback, MixHandler) and learn.loss_func == callback.lf and learn.training
