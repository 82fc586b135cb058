"""How a student is trained: one frozen tree of settings, as recipes hold it."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(gt=0, lt=1)]


class TrainingSettings(BaseModel):
    """Settings of :func:`tutelage.training.fit`.

    The length is given by ``epochs`` or by ``steps``. ``batch_size`` always counts the samples
    behind one update, so that neither ``accumulate`` nor the number of processes changes what is
    learnt, as far as losses are means over samples and layers treat samples one by one. A last
    batch that is too small for all processes is the exception: :func:`tutelage.training.fit`.

    >>> TrainingSettings(epochs=2).total_steps(steps_per_epoch=3)
    6
    """

    # Infinite or NaN numbers are refused everywhere: `lr: .inf` is a slip, not a setting.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int | None = Field(None, ge=1, description="Passes over the training data.")
    steps: int | None = Field(None, ge=1, description="Optimiser steps, instead of epochs.")
    batch_size: int = Field(
        64, ge=1, description="Samples behind one optimiser step, over all processes together."
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field("adamw", description="From torch.optim.")
    lr: float = Field(1e-3, gt=0, description="Learning rate after the warm-up.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Momentum of sgd; others ignore it.")
    weight_decay: float = Field(
        0.0, ge=0, description="Decay of everything that trains, biases and norms included."
    )
    scheduler: Literal["none", "cosine", "linear", "step"] = Field(
        "none", description="Course of the learning rate after each optimiser step."
    )
    milestones: tuple[Fraction, ...] = Field(
        (0.5, 0.75), description="For `step`: fractions of the training at which the rate drops."
    )
    gamma: float = Field(0.1, gt=0, le=1, description="For `step`: factor of each drop.")
    warmup_steps: int = Field(0, ge=0, description="Optimiser steps of linear warm-up.")
    accumulate: int = Field(
        1,
        ge=1,
        description="Pieces in which a process handles its share of a batch, to save memory.",
    )
    clip_norm: float | None = Field(
        None, gt=0, description="Largest total norm of the gradients; larger ones are scaled down."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="Of the forward pass, by autocast; fp16 needs CUDA."
    )
    mixup: float | None = Field(
        None, gt=0, description="Mix images and labels in pairs; shares from Beta(mixup, mixup)."
    )
    cutmix: float | None = Field(
        None, gt=0, description="Paste rectangles between images; shares from Beta(cutmix, cutmix)."
    )
    views: int | None = Field(
        None,
        ge=1,
        description="Random versions of each image, of which epoch e shows number e % views; by "
        "default as many as the teacher's cache holds, or another one in each epoch.",
    )
    view_seed: int | None = Field(
        None,
        ge=0,
        lt=2**63,
        description="Seed of the random versions; by default that of the teacher's cache, or of "
        "the data. Students of several seeds can so see the versions that one cache knows.",
    )
    device: str = Field(
        "auto",
        description="auto, cpu, cuda, cuda:1, or another that computes on this machine, as mps.",
    )
    workers: int = Field(0, ge=0, description="Processes that load data, for each process.")
    selection: Literal["last", "best"] = Field(
        "last", description="Which student is kept: after the last step, or best on validation."
    )
    validate_every: int | None = Field(
        None,
        ge=1,
        description="Least optimiser steps between two validations, which come at ends of epochs; "
        "by default a fiftieth of the training.",
    )
    checkpoint_every: int = Field(0, ge=0, description="Epochs between checkpoints; 0 writes none.")
    log_every: int = Field(10, ge=1, description="Optimiser steps between two lines of the log.")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            found = "neither" if self.epochs is None else "both"
            raise ValueError(f"expected one of epochs and steps, found {found}; set one of them")
        if self.accumulate > self.batch_size:
            raise ValueError(
                f"expected accumulate of at most batch_size={self.batch_size}, "
                f"found {self.accumulate}; lower it"
            )
        if self.steps is not None and self.warmup_steps >= self.steps:
            raise ValueError(
                f"expected warmup_steps below steps={self.steps}, found {self.warmup_steps}"
            )
        return self

    def total_steps(self, steps_per_epoch: int) -> int:
        """Return the number of optimiser steps of the whole training."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None  # the validator saw to it
        return self.epochs * steps_per_epoch

    def validation_gap(self, total_steps: int) -> int:
        """Return the least number of optimiser steps between two validations."""
        return self.validate_every or max(1, total_steps // 50)
