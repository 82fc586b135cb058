"""What the learner's data loaders say of their batches."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from fastai.data.transforms import IntToFloatTensor, Normalize
from fastai.learner import Learner
from torch import Tensor

from tutelage.teachers import InputSpec


def images_of(learn: Learner, channels: int) -> InputSpec | None:
    """Return how the learner's loaders normalise images, or ``None`` where they do not say.

    ``Normalize`` says it, and loaders that turn bytes into numbers from 0 to 1 do nothing more.
    """
    steps = list(getattr(getattr(learn.dls.train, "after_batch", None), "fs", ()))
    for step in steps:
        if isinstance(step, Normalize) and step.mean is not None:
            mean, std = (torch.as_tensor(one).flatten().tolist() for one in (step.mean, step.std))
            return InputSpec(mean=tuple(mean), std=tuple(std))
    if any(isinstance(step, IntToFloatTensor) for step in steps):
        return InputSpec(mean=(0.0,) * channels, std=(1.0,) * channels)
    return None


def example_of(learn: Learner) -> Any:
    """Return the inputs of one training batch, on the learner's device; no random state moves."""
    loader = learn.dls.train
    with _same_random_state(loader):
        batch = loader.one_batch() if hasattr(loader, "one_batch") else next(iter(loader))
    batch = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
    count = getattr(learn.dls, "n_inp", 1 if len(batch) == 1 else len(batch) - 1)
    inputs = tuple(_plain(one) for one in learn._set_device(batch[:count]))
    return inputs[0] if len(inputs) == 1 else inputs


def _plain(value: Any) -> Any:
    return value.as_subclass(Tensor) if isinstance(value, Tensor) else value


@contextmanager
def _same_random_state(loader: Any) -> Iterator[None]:
    kept, numpys, own = random.getstate(), np.random.get_state(), getattr(loader, "rng", None)
    owns: Any = own.getstate() if isinstance(own, random.Random) else None
    gpus = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=gpus):
        try:
            yield
        finally:
            random.setstate(kept)
            np.random.set_state(numpys)
            if isinstance(own, random.Random):
                own.setstate(owns)
                loader.rng = own  # each iteration puts a new one in its place
