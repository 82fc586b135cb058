"""The teacher that runs live beside the student and cannot move."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from tutelage.errors import TapError, TeacherError
from tutelage.signals import Signals, call
from tutelage.taps import Taps, suggest
from tutelage.teachers.adapter import InputAdapter
from tutelage.teachers.cheaper import Engine
from tutelage.teachers.convert import converted, first_parameter
from tutelage.teachers.first import Versions, copied, refuse_broken, refuse_moving, tensors_in
from tutelage.teachers.freeze import Hold
from tutelage.teachers.inputs import InputSpec
from tutelage.teachers.named import resolve
from tutelage.teachers.output import ClassMap, logits_of


class FrozenTeacher(nn.Module):
    """A module as a teacher: no gradients, no training mode, no change of any tensor.

    A module is frozen in place, not copied; :meth:`close` (or leaving a ``with`` block, also by
    an exception) gives the ``requires_grad`` of its parameters and the modes of its submodules
    back. Several distillers may share one teacher: it closes with the last of them. A teacher never
    changes, so ``copy.deepcopy`` returns the teacher itself: a copy of a distiller (for an average
    of its weights) shares it instead of holding it twice.

    A module that writes into its inputs (a first layer with ``inplace=True``) is given copies, so
    that the student's batch stays whole. One of ``torch.export`` must be exported in eval mode.

    Args:
        model: A module, or a name as ``models.create`` takes it (``timm/resnet18``).
        inputs: The images that the teacher expects; fields that are not stated are taken as
            given. By default nothing is stated, except by published weights (``pretrained=True``).
        given: The images that the student's loader gives, from which they are converted.
        class_map: For each class of the student, the index of the same class of the teacher.
        class_axis: The class axis of the teacher's logits, for ``class_map``.
        num_classes: The teacher's own number of classes, where ``model`` is a name.
        in_channels: The teacher's own channels, where ``model`` is a name. Default: those of
            ``inputs``, or 3.
        weights: A local file with the teacher's weights, loaded strictly.
        pretrained: Fetch published weights, where ``model`` is a name.
        allow_random_head: Accept weights whose classifier has another number of classes and
            leave the classifier untrained: of use for features only.
        dtype: Cast a teacher built by name. Inputs are cast to the teacher's dtype in any case.
        precision: ``"bf16"`` runs it under autocast to bfloat16, ``"auto"`` only where the device
            is faster so. Its first batch is computed both ways: where they differ by more than
            :mod:`tutelage.teachers.cheaper` allows, it warns with the figures and stays as it is.
        channels_last: Lay images and weights out with the channels last; undone by :meth:`close`.
        compile: Compile the module, or the name of a compiler's backend.
        options: Passed on to the model, where ``model`` is a name.

    Raises:
        TeacherError: Arguments that cannot give a trained teacher or a right conversion.
        InputError: An unknown name, or weights that do not fit.
        DataError: A weight file that is damaged or refused.

    >>> teacher = FrozenTeacher(nn.Linear(4, 3))
    >>> teacher(torch.zeros(2, 4)).logits.requires_grad
    False
    """

    def __init__(
        self,
        model: nn.Module | str,
        *,
        inputs: InputSpec | None = None,
        given: InputSpec | None = None,
        class_map: Sequence[int] | None = None,
        class_axis: int = -1,
        num_classes: int | None = None,
        in_channels: int | None = None,
        weights: str | Path | None = None,
        pretrained: bool = False,
        allow_random_head: bool = False,
        dtype: torch.dtype | None = None,
        precision: str | None = None,
        channels_last: bool = False,
        compile: bool | str = False,
        **options: Any,
    ) -> None:
        super().__init__()
        # All that can fail comes before the freezing, so that a failure leaves the module alone.
        resolved, wanted = resolve(
            model,
            inputs=inputs,
            weights=weights,
            allow_random_head=allow_random_head,
            dtype=dtype,
            num_classes=num_classes,
            in_channels=in_channels,
            pretrained=pretrained,
            **options,
        )
        adapter = InputAdapter(given, wanted)
        is_plain = precision is None and not channels_last and not compile
        self.engine = None if is_plain else Engine(precision, channels_last, compile)
        self.given, self.wanted = given, wanted
        self.model = resolved
        self.adapter = adapter if adapter.checks_size or not adapter.is_identity else None
        self.class_map = None if class_map is None else ClassMap(class_map, axis=class_axis)
        self._dtype_source = first_parameter(resolved)
        self._class_axis = class_axis
        self._promised: tuple[str, ...] = ()
        self._taps: Taps | None = None
        self._hold: Hold | None = None
        self._users = 0
        # Whether the module writes into its inputs; None until its first batch has shown it.
        self._writes: bool | None = None
        self._has_run_whole = False  # with the taps that are promised now
        self.training = False
        self.freeze()

    def forward(self, inputs: Any, ids: Tensor | None = None) -> Signals:
        """Return the logits and the promised taps for the student's ``inputs``.

        Args:
            inputs: A tensor ``[B, ...]``, a tuple of arguments or a mapping of keywords.
            ids: Not used; a live teacher looks nothing up.

        Raises:
            TeacherError: The teacher is closed, or its output is not one row of logits per input.
            ShapeError: The inputs are not the images that ``given`` states.
            TapError: A tap was not called, was called twice, or is not a tensor.
            NumericalError: The first batch of logits holds NaN or ``+inf``.
        """
        self._pin()
        # no_grad and not inference_mode: a loss could not save an inference tensor for backward.
        with torch.no_grad():
            mine = converted(inputs, self.adapter, self._dtype_source)
            if self.engine is not None and self.engine.must_judge(mine):
                return self.engine.judge(
                    mine, lambda: self._signals(mine, inputs), self._class_axis
                )
            return self._signals(mine, inputs)

    def only_taps(self, inputs: Any, ids: Tensor | None = None) -> Signals:
        """Return the taps of a forward that ends with the last: the first batch has it whole."""
        is_eager = self.engine is None or self.engine.is_eager(inputs)
        if (
            self._taps is None
            or not self._has_run_whole
            or not is_eager
            or torch.compiler.is_compiling()
        ):
            return self.forward(inputs, ids)
        self._pin()
        with torch.no_grad():
            mine = converted(inputs, self.adapter, self._dtype_source)
            mine = copied(mine) if self._writes else mine
            self._taps.run_until_seen(lambda: self._output(mine))
        return self._widened(Signals(None, self._taps.read()))

    def layer(self, name: str) -> nn.Module:
        """Return a layer of the teacher's module by its name, for losses that copy from it.

        Raises:
            TapError: It has no such layer.
        """
        try:
            return self.model.get_submodule(name)
        except AttributeError:
            raise TapError(f"teacher: no layer {name!r} ({suggest(name, self.model)})") from None

    def provide(self, names: Sequence[str]) -> None:
        """Promise taps beside those promised before, to one user more; opens a closed teacher.

        Each call counts one user, whose :meth:`close` goes with it.

        Raises:
            TapError: The module has no such layer.
        """
        wanted = tuple(dict.fromkeys((*self._promised, *names)))
        if wanted != self._promised:
            taps = Taps(self.model, wanted)
            if self._taps is not None:
                self._taps.close()
            self._taps, self._promised, self._has_run_whole = taps, wanted, False
            if self.engine is not None:
                self.engine.forget_compiled()
        self.freeze()
        self._users += 1

    def freeze(self) -> None:
        """Freeze the module, if it is not: no gradients, eval mode, the taps as promised."""
        if self._hold is None:
            self._hold = Hold(self.model)
            if self.engine is not None:
                self.engine.lay_out(self.model)
        if self._taps is None and self._promised:
            self._taps, self._has_run_whole = Taps(self.model, self._promised), False

    def close(self) -> None:
        """End one user's use; with the last, remove the taps and give the module back as it was.

        Safe to repeat once nobody uses it. Leaving a ``with`` block ends the use of all.
        """
        self._users = max(self._users - 1, 0)
        if self._users:
            return
        if self._taps is not None:
            self._taps.close()
            self._taps = None
        if self._hold is not None:
            self._hold.release()
            self._hold = None
            if self.engine is not None:
                self.engine.restore()

    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        """Replace each tensor of the teacher by ``function(tensor)``, to move or cast it."""
        self._apply(function)  # type: ignore[no-untyped-call]

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every parameter and buffer of the module under its name there."""
        yield from self.model.named_parameters(remove_duplicate=False)
        yield from self.model.named_buffers(remove_duplicate=False)

    def train(self, mode: bool = True) -> Self:
        """Do nothing: a parent that goes to training does not take its teacher along."""
        return self

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Do nothing: a teacher does not learn."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._users = 0
        self.close()

    def _pin(self) -> None:
        if self._hold is None:
            raise TeacherError("teacher: it is closed; call its freeze() to use it again")
        self._hold.pin()

    def _signals(self, mine: Any, inputs: Any) -> Signals:
        """Return the signals for inputs that are converted, ``mine``."""
        if torch.compiler.is_compiling():
            logits = self._logits(copied(mine), inputs)  # a copy the compiler can drop
        elif self._writes is None:
            logits = self._first_logits(copied(mine), inputs)
        else:
            logits = self._logits(copied(mine) if self._writes else mine, inputs)
        if self._taps is None:
            return self._widened(Signals(logits))
        taps = self._taps.read()
        self._has_run_whole = True
        return self._widened(Signals(logits, taps))

    def _widened(self, signals: Signals) -> Signals:
        return signals if self.engine is None else self.engine.widened(signals)

    def _output(self, mine: Any) -> Any:
        return call(self.model, mine) if self.engine is None else self.engine.run(self.model, mine)

    def _logits(self, mine: Any, inputs: Any) -> Tensor:
        logits = logits_of(self._output(mine), inputs)
        return logits if self.class_map is None else self.class_map(logits)

    def _first_logits(self, mine: Any, inputs: Any) -> Tensor:
        batch, buffers = Versions(tensors_in(mine)), Versions(self.model.buffers())
        logits = self._logits(mine, inputs)
        refuse_broken(logits)
        assert self._hold is not None
        if self._hold.is_fixed:
            refuse_moving(self.model, buffers)
        self._writes = batch.have_moved()
        return logits
