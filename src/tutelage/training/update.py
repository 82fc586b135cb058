"""One optimiser step: forward, backward, the check for finite numbers, the update."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from tutelage.data import Batch
from tutelage.distiller import Distiller
from tutelage.errors import InputError
from tutelage.signals import Step
from tutelage.training.distributed import Ranks
from tutelage.training.guard import check_everything_trains, elsewhere, explain_not_finite
from tutelage.training.optimisers import build_optimizer, build_scheduler
from tutelage.training.settings import TrainingSettings

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Updater:
    """The model under DDP with its optimiser, scheduler and scaler.

    Args:
        distiller: On its device, with sized projectors.
        settings: See :class:`TrainingSettings`.
        ranks: The processes that train together.
        total_steps: Length of the training, for the scheduler.

    Raises:
        InputError: If fp16 is asked for without CUDA.
    """

    def __init__(
        self, distiller: Distiller, settings: TrainingSettings, ranks: Ranks, total_steps: int
    ) -> None:
        if settings.precision == "fp16" and ranks.device.type != "cuda":
            raise InputError(
                f"precision: expected fp32 or bf16 on {ranks.device.type}, found fp16; use bf16"
            )
        self.distiller = distiller
        self.settings = settings
        self.ranks = ranks
        self.model = ranks.wrap(distiller)
        self.optimizer = build_optimizer(distiller.parameters(), settings)
        self.scheduler = build_scheduler(self.optimizer, settings, total_steps)
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=settings.precision == "fp16")
        self._trainable = [p for p in distiller.parameters() if p.requires_grad]
        self._is_first = True

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def __call__(self, batch: Batch, global_size: int, number: int) -> dict[str, Tensor]:
        """Make one update and return this process's share of the loss and of its parts.

        The loss of a piece counts by its share of the global batch. For losses that are means
        over samples, neither the number of processes nor that of pieces then changes the result.

        Args:
            batch: This process's piece of the global batch.
            global_size: Samples of the global batch.
            number: This optimiser step, from 1.

        Returns:
            ``"loss"`` and each part, on the device: their sum over processes is the global mean.

        Raises:
            NumericalError: If a loss or a gradient is not finite. No process then has updated a
                parameter; running statistics may have moved in the forward pass.
        """
        self.distiller.set_step(number - 1)
        self.optimizer.zero_grad(set_to_none=True)
        shares: dict[str, Tensor] = {}
        done: list[tuple[Batch, Step]] = []
        # As many pieces as the smallest share allows: processes that exchange vectors or sums in a
        # forward wait for each other in each of them.
        least = global_size // self.ranks.world_size
        pieces = _split(batch, min(self.settings.accumulate, max(1, least // 2)))
        for index, piece in enumerate(pieces):
            share = len(piece) / global_size
            is_last = index == len(pieces) - 1
            with self.ranks.without_sync(self.model, skip=not is_last):
                with self._autocast():
                    step: Step = self.model(piece.inputs, piece.target, piece.ids)
                # DDP takes the mean over processes; the shares ask for the sum.
                factor = share * self.ranks.world_size
                loss = step.loss if factor == 1 else step.loss * factor
                torch.autograd.backward(self.scaler.scale(loss))
            _add(shares, {"loss": step.loss.detach(), **step.parts}, share)
            done.append((piece, step))
        if self._is_first:
            check_everything_trains(self.distiller, with_student=self.ranks.world_size > 1)
            self._is_first = False
        self._check_finite(done, number)
        self._apply()
        return shares

    def _check_finite(self, done: list[tuple[Batch, Step]], number: int) -> None:
        """Raise on every process if any has a number that is not finite.

        The device is read once for each update, on the losses and the gradient's norm together.
        """
        scaled = self.scaler.is_enabled()
        if scaled:
            self.scaler.unscale_(self.optimizer)
        norm = self._gradient_norm()
        losses = torch.stack([step.loss.detach() for _, step in done]).isfinite().all()
        # A scaler skips the updates whose gradient overflowed by itself.
        if self.ranks.all_true(losses if scaled else losses & norm.isfinite()):
            return
        # DDP has mixed the gradients of all processes: only the losses tell whose fault it is.
        if not self.ranks.all_true(losses) and losses:
            raise elsewhere(number)
        blamed = next((pair for pair in done if not pair[1].loss.isfinite()), done[-1])
        raise explain_not_finite(self.distiller, *blamed, number)

    def _gradient_norm(self) -> Tensor:
        if self.settings.clip_norm is not None:
            return nn.utils.clip_grad_norm_(self._trainable, self.settings.clip_norm)
        gradients = [p.grad for p in self._trainable if p.grad is not None]
        return nn.utils.get_total_norm(gradients)

    def _apply(self) -> None:
        before = self.scaler.get_scale() if self.scaler.is_enabled() else 1.0
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # A scaler lowers its scale when it skipped the update; the schedule then waits as well.
        if not self.scaler.is_enabled() or self.scaler.get_scale() >= before:
            self.scheduler.step()

    def _autocast(self) -> AbstractContextManager[None]:
        dtype = _DTYPES.get(self.settings.precision)
        if dtype is None:
            return nullcontext()
        return torch.autocast(self.ranks.device.type, dtype)


def _split(batch: Batch, pieces: int) -> list[Batch]:
    """Return ``batch`` in equal pieces, fewer where one would be left with a single sample."""
    pieces = max(1, min(pieces, len(batch) // 2))
    if pieces == 1:
        return [batch]
    parts = (tensor.tensor_split(pieces) for tensor in batch)
    return [batch.with_parts(*piece) for piece in zip(*parts, strict=True)]


def _add(total: dict[str, Tensor], values: Mapping[str, Tensor], share: float) -> None:
    for name, value in values.items():
        total[name] = total[name] + value * share if name in total else value * share
