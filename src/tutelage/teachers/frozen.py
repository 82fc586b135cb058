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
        self.given, self.wanted = given, wanted
        self.model = resolved
        self.adapter = adapter if adapter.checks_size or not adapter.is_identity else None
        self.class_map = None if class_map is None else ClassMap(class_map, axis=class_axis)
        self._dtype_source = _first_parameter(resolved)
        self._promised: tuple[str, ...] = ()
        self._taps: Taps | None = None
        self._hold: Hold | None = None
        self._users = 0
        # Whether the module writes into its inputs; None until its first batch has shown it.
        self._writes: bool | None = None
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
        if self._hold is None:
            raise TeacherError("teacher: it is closed; call its freeze() to use it again")
        self._hold.pin()
        # no_grad and not inference_mode: a loss could not save an inference tensor for backward.
        with torch.no_grad():
            converted = self._convert(inputs)
            if torch.compiler.is_compiling():
                logits = self._logits(copied(converted), inputs)  # a copy the compiler can drop
            elif self._writes is None:
                logits = self._first_logits(copied(converted), inputs)
            else:
                logits = self._logits(copied(converted) if self._writes else converted, inputs)
        return Signals(logits, self._taps.read() if self._taps is not None else {})

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
            self._taps, self._promised = taps, wanted
        self.freeze()
        self._users += 1

    def freeze(self) -> None:
        """Freeze the module, if it is not: no gradients, eval mode, the taps as promised."""
        if self._hold is None:
            self._hold = Hold(self.model)
        if self._taps is None and self._promised:
            self._taps = Taps(self.model, self._promised)

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

    def _logits(self, converted: Any, inputs: Any) -> Tensor:
        logits = logits_of(call(self.model, converted), inputs)
        return logits if self.class_map is None else self.class_map(logits)

    def _first_logits(self, converted: Any, inputs: Any) -> Tensor:
        batch, buffers = Versions(tensors_in(converted)), Versions(self.model.buffers())
        logits = self._logits(converted, inputs)
        refuse_broken(logits)
        assert self._hold is not None
        if self._hold.is_fixed:
            refuse_moving(self.model, buffers)
        self._writes = batch.have_moved()
        return logits

    def _convert(self, inputs: Any) -> Any:
        if not isinstance(inputs, Tensor):
            if self.adapter is None:
                return inputs
            raise TeacherError(
                f"teacher: it converts images, a tensor, and found {type(inputs).__name__}; pass "
                "the images alone, or convert them in the loader and leave inputs= and given= out"
            )
        if self.adapter is not None:
            inputs = self.adapter(inputs)
        if self._dtype_source is not None and inputs.is_floating_point():
            part, name = self._dtype_source
            dtype = getattr(part, name).dtype
            return inputs if inputs.dtype == dtype else inputs.to(dtype)
        return inputs


def _first_parameter(model: nn.Module) -> tuple[nn.Module, str] | None:
    """Return where the first floating-point parameter stands: moving a module may replace it."""
    for part in model.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.is_floating_point():
                return part, name
    return None
