"""Mean teacher: the student's past weights, averaged (Tarvainen and Valpola, 2017, 1703.01780)."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import InputError
from tutelage.signals import Signals
from tutelage.teachers.first import Versions
from tutelage.teachers.frozen import FrozenTeacher


class EMATeacher:
    r"""A teacher whose weights are the exponential moving average of the student's.

    .. math:: \theta'_n = d_n \theta'_{n-1} + (1 - d_n) \theta_n, \qquad
        d_n = \min\left(d, \frac{1 + n}{10 + n}\right)

    after each optimiser step n; buffers, such as BatchNorm statistics, are copied. The rising
    decay lets the average forget the untrained student. The average is updated when the teacher
    is next asked and finds the student's parameters written, so gradient accumulation and
    evaluation do not count. It is part of the distiller's ``state_dict()``, since no training can
    go on without it.

    Args:
        student: The student, as the :class:`~tutelage.Distiller` gets it.
        decay: :math:`d` from 0 (the student of the step before) to 1 (the student at the start).
        automatic: Whether to notice the student's steps. A compiled distiller cannot, nor
            can it be noticed of an optimiser that writes through ``.data``: there call
            :meth:`update` after each step.

    Raises:
        InputError: The decay is outside its range.
    """

    def __init__(self, student: nn.Module, *, decay: float = 0.999, automatic: bool = True) -> None:
        self.decay = _check.fraction(decay, "EMATeacher.decay")
        self.automatic = automatic
        self.student = student
        self._average = FrozenTeacher(copy.deepcopy(student))
        self._seen = Versions(student.parameters())
        self._is_behind = False  # whether a step was taken that the average has not seen
        self.updates = 0
        self._promised: tuple[str, ...] = ()
        self.memory = _Memory(self)

    def __call__(self, inputs: Any, ids: Tensor | None = None) -> Signals:
        """Return what the averaged weights say, after taking in the student's latest step."""
        if self.automatic:
            if torch.compiler.is_compiling():
                raise InputError(
                    "EMATeacher: a compiled step cannot see the student's parameters change; give "
                    "automatic=False and call update() after each optimiser step"
                )
            if self._has_moved():
                self.update()
        signals: Signals = self._average(inputs, ids)
        return signals

    @torch.no_grad()
    def update(self) -> None:
        """Take the student's weights as they are now into the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine = [parameter.detach() for parameter in self.student.parameters()]
        torch._foreach_lerp_(list(self._average.model.parameters()), mine, 1 - decay)
        for average, buffer in zip(
            self._average.model.buffers(), self.student.buffers(), strict=True
        ):
            average.copy_(buffer)
        self._catch_up(is_behind=False)

    def provide(self, names: Sequence[str]) -> None:
        """Promise taps of the averaged student."""
        self._average.provide(names)
        self._promised = (*self._promised, *names)

    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        """Move or cast the average."""
        is_behind = self._has_moved()
        self._average.apply_to_tensors(function)
        self._catch_up(is_behind=is_behind)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of the average."""
        yield from self._average.named_tensors()

    def close(self) -> None:
        """Remove the taps."""
        self._average.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> "EMATeacher":
        """Return the teacher of the student's copy, if that is copied along."""
        student = memo.get(id(self.student))
        if student is None:
            return self
        twin = copy.copy(self)
        memo[id(self)] = twin
        twin.student = student
        # Asked by taps of its own: those of this average would be copied with its module.
        self._average.close()
        twin._average = FrozenTeacher(copy.deepcopy(self._average.model))
        for average in (self._average, twin._average):
            average.provide(self._promised)
        twin.memory = _Memory(twin)
        twin._catch_up(is_behind=self._has_moved())
        return twin

    def __repr__(self) -> str:
        return f"EMATeacher(decay={self.decay}, automatic={self.automatic})"

    def _has_moved(self) -> bool:
        if not self._is_behind and self._seen.have_moved():
            # DDP writes the first weights once more, and that is no step.
            self._catch_up(is_behind=self.updates > 0 or not self._is_the_student())
        return self._is_behind

    def _is_the_student(self) -> bool:
        pairs = zip(self._average.model.parameters(), self.student.parameters(), strict=True)
        return all(torch.equal(average, mine) for average, mine in pairs)

    def _catch_up(self, *, is_behind: bool) -> None:
        """Take the student's parameters as known, whether or not the average has seen them."""
        self._seen = Versions(self.student.parameters())
        self._is_behind = is_behind


class _Memory(nn.Module):
    """The average as a part of the distiller's state: no parameters, but entries in its state."""

    def __init__(self, teacher: EMATeacher) -> None:
        super().__init__()
        self._teacher = (teacher,)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        (teacher,) = self._teacher
        destination[prefix + "updates"] = torch.tensor(teacher.updates)
        destination[prefix + "is_behind"] = torch.tensor(teacher._has_moved())
        for name, tensor in teacher.named_tensors():
            destination[f"{prefix}average.{name}"] = tensor.detach()

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        (teacher,) = self._teacher
        numbers = {prefix + "updates", prefix + "is_behind"}
        wanted = {f"{prefix}average.{name}": tensor for name, tensor in teacher.named_tensors()}
        found = {key for key in state_dict if key.startswith(prefix)}
        missing_keys += sorted({*wanted, *numbers} - found)
        unexpected_keys += sorted(found - {*wanted, *numbers})
        if numbers <= found:
            teacher.updates = int(state_dict[prefix + "updates"])
            # The student has just been written too: that is no step of it.
            teacher._catch_up(is_behind=bool(state_dict[prefix + "is_behind"]))
        with torch.no_grad():
            for key in found & wanted.keys():
                if wanted[key].shape == state_dict[key].shape:
                    wanted[key].copy_(state_dict[key])
                else:
                    error_msgs.append(
                        f"{key}: expected {_check.shape(wanted[key])}, found "
                        f"{_check.shape(state_dict[key])}"
                    )
