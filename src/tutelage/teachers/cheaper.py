"""How a frozen teacher is run for less: in bfloat16, in another memory layout, or compiled."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage import _check
from tutelage.signals import Signals, call
from tutelage.teachers.first import tensors_in

PRECISIONS = ("auto", "bf16")

MOST_KL = 1e-3
"""Mean divergence in nats that bfloat16 may add; a KD loss is mostly a hundred times that."""
LEAST_AGREEMENT = 0.98
"""Share of samples that must keep their likeliest class; one of a batch may always change."""
MOST_TAP_ERROR = 0.05
"""Relative error of a tap as a whole."""


@dataclass(frozen=True)
class Drift:
    """How far the signals in bfloat16 are from those in the teacher's own precision.

    Args:
        kl: Mean divergence of the predictions, in nats.
        agreement: Share of positions with the same likeliest class.
        changed: How many have another one.
        taps: Relative error of each tap.
    """

    kl: float
    agreement: float
    changed: int
    taps: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_small(self) -> bool:
        """Whether a student would not notice: see the limits of this module."""
        same_classes = self.agreement >= LEAST_AGREEMENT or self.changed <= 1
        taps = all(error <= MOST_TAP_ERROR for error in self.taps.values())
        return self.kl <= MOST_KL and same_classes and taps

    def __str__(self) -> str:
        taps = "".join(f", tap '{name}' {error:.2%} off" for name, error in self.taps.items())
        return f"KL {self.kl:.1e} nats, {self.agreement:.1%} of likeliest classes the same{taps}"


def drift(exact: Signals, low: Signals, class_axis: int = -1) -> Drift:
    """Measure how far ``low`` is from ``exact``, two answers to one batch.

    >>> logits = torch.tensor([[2.0, 0.0]])
    >>> print(drift(Signals(logits), Signals(logits)))
    KL 0.0e+00 nats, 100.0% of likeliest classes the same
    """
    mine, other = (cast(Tensor, one.logits).double() for one in (exact, low))
    log_p, log_q = mine.log_softmax(class_axis), other.log_softmax(class_axis)
    gaps = log_p.exp() * (log_p - log_q)
    kl = gaps.masked_fill(log_p == -torch.inf, 0).sum(class_axis).mean()
    same = mine.argmax(class_axis) == other.argmax(class_axis)
    errors = {
        name: float((low.taps[name].double() - tap).norm() / tap.norm().clamp(min=1e-30))
        for name, tap in ((name, tap.double()) for name, tap in exact.taps.items())
    }
    return Drift(float(kl), float(same.double().mean()), int((~same).sum()), errors)


class Engine:
    """Runs a module in the way that was asked for.

    Args:
        precision: ``None`` for its own; ``"bf16"`` for autocast to bfloat16; ``"auto"`` for that
            where the device computes faster in it.
        channels_last: Whether images and weights are laid out with the channels last.
        compile: Whether it is compiled, or the name of the compiler's backend.
    """

    def __init__(self, precision: str | None, channels_last: bool, compile: bool | str) -> None:
        if precision is not None:
            _check.one_of(precision, PRECISIONS, "FrozenTeacher.precision")
        self.precision, self.channels_last, self.compile = precision, channels_last, compile
        #: Of the first batch on a device; ``None`` where bfloat16 was not tried.
        self.drift: Drift | None = None
        self.is_low = False
        self._judged_on: str | None = None
        self._compiled: Callable[..., Any] | None = None
        self._was_contiguous: list[nn.Module] = []

    def is_eager(self, inputs: Any) -> bool:
        """Whether the module's own forward runs once, so that it can be left midway."""
        return not self.compile and not self.must_judge(inputs)

    def run(self, model: nn.Module, inputs: Any) -> Any:
        """Return the module's output."""
        if self.channels_last:
            inputs = _channels_last(inputs)
        function = self._function(model)
        if not self.is_low:
            return call(function, inputs)
        with torch.autocast(_device(inputs), torch.bfloat16):
            return call(function, inputs)

    def must_judge(self, inputs: Any) -> bool:
        """Whether the next batch must show if bfloat16 is accurate enough, on this device."""
        if self.precision is None or torch.compiler.is_compiling():
            return False
        return self._judged_on != _device(inputs)

    def judge(self, inputs: Any, ask: Callable[[], Signals], class_axis: int) -> Signals:
        """Answer a batch twice, decide, and return the answer of the precision that stays."""
        self.is_low, self.drift, self._judged_on = False, None, _device(inputs)
        exact = ask()
        if self.precision == "auto" and not _is_fast(self._judged_on):
            return exact
        self.is_low = True
        low = ask()
        self.drift = drift(exact, low, class_axis)
        if self.drift.is_small:
            return low
        self.is_low = False
        warnings.warn(
            f"teacher: expected bfloat16 to change no more than KL {MOST_KL:.0e} nats, "
            f"{1 - LEAST_AGREEMENT:.0%} of the classes and {MOST_TAP_ERROR:.0%} of a tap, found "
            f"{self.drift}; it goes on in its own precision: leave precision= out",
            stacklevel=5,
        )
        return exact

    def widened(self, signals: Signals) -> Signals:
        """Return what was computed in bfloat16 as float32."""
        if not self.is_low:
            return signals
        logits = signals.logits
        taps = {name: _wide(tap) for name, tap in signals.taps.items()}
        return Signals(_wide(logits) if isinstance(logits, Tensor) else None, taps)

    def lay_out(self, model: nn.Module) -> None:
        """Put the weights' channels last; :meth:`restore` puts them back."""
        if self.channels_last and not self._was_contiguous:
            own = [part for part in model.modules() if _has_contiguous_weights(part)]
            for part in own:
                _lay_out(part, torch.channels_last)
            self._was_contiguous = own

    def restore(self) -> None:
        """Put the weights back as they were, and forget what was compiled."""
        for part in self._was_contiguous:
            _lay_out(part, torch.contiguous_format)
        self._was_contiguous, self._compiled = [], None

    def forget_compiled(self) -> None:
        """Compile anew before the next batch: taps were added."""
        self._compiled = None

    def _function(self, model: nn.Module) -> Any:
        if not self.compile or torch.compiler.is_compiling():
            return model
        if self._compiled is None:
            backend = self.compile if isinstance(self.compile, str) else "inductor"
            self._compiled = torch.compile(model, backend=backend)
        return self._compiled

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_compiled": None}


def _device(inputs: Any) -> str:
    tensors = tensors_in(inputs)
    return tensors[0].device.type if tensors else "cpu"


def _is_fast(device: str) -> bool:
    """Whether a device computes faster in bfloat16; on other CPUs it takes longer."""
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    names = "_is_avx512_bf16_supported", "_is_amx_tile_supported"
    return device == "cpu" and any(getattr(torch.cpu, name, bool)() for name in names)


def _channels_last(inputs: Any) -> Any:
    if isinstance(inputs, Tensor) and inputs.ndim == 4:
        return inputs.contiguous(memory_format=torch.channels_last)
    return inputs


def _has_contiguous_weights(part: nn.Module) -> bool:
    return any(p.ndim == 4 and p.is_contiguous() for p in part.parameters(recurse=False))


def _lay_out(part: nn.Module, memory_format: torch.memory_format) -> None:
    with torch.no_grad():
        for parameter in part.parameters(recurse=False):
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=memory_format)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
