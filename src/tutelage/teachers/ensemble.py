"""Several teachers as one: the mean of what they predict, and each of them by its name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import InputError, TapError, TeacherError, did_you_mean
from tutelage.signals import Signals, SparseLogits
from tutelage.teachers.itself import Itself
from tutelage.teachers.mean import MEANS, mean_prediction
from tutelage.teachers.protocol import Teacher
from tutelage.teachers.views import tell_view


class EnsembleTeacher:
    """Several teachers that all see the batch; its logits are those of their mean prediction.

    Taps are addressed as ``"member/layer"``; ``"member"`` alone is that member's logits, so that
    losses of several teachers can read each: ``at=[(None, "first"), (None, "second")]``. Members
    keep their own conversions of the input and their own rules: frozen ones stay frozen, and
    shared ones count their users.

    Args:
        teachers: By name, or in a list, whose names are then ``"0"``, ``"1"`` ...
        mean: ``"probability"``, ``"logit"`` or ``"log_probability"``, which is that of logits with
            rows that are log-probabilities; see :func:`~tutelage.teachers.mean.mean_prediction`.
        weights: How much each member counts, above 0, in the same form; only their ratios count.
            Default: all the same.
        class_axis: The axis of the classes in the members' logits (1 for dense ``[B, C, H, W]``).

    Raises:
        TeacherError: There is no member, or one is not a teacher.
        InputError: A name cannot be part of a tap's, ``mean`` is unknown, or the weights do not
            fit the members.

    >>> from tutelage import CallableTeacher
    >>> members = {"a": CallableTeacher(lambda x: x), "b": CallableTeacher(lambda x: 3 * x)}
    >>> EnsembleTeacher(members, mean="logit")(torch.eye(2)).logits
    tensor([[2., 0.],
            [0., 2.]])
    """

    def __init__(
        self,
        teachers: Mapping[str, Teacher] | Sequence[Teacher],
        *,
        mean: str = "probability",
        weights: Mapping[str, float] | Sequence[float] | None = None,
        class_axis: int = -1,
    ) -> None:
        self.members = _named(teachers)
        self.mean = _check.one_of(mean, MEANS, "EnsembleTeacher.mean")
        self.weights = _weights(weights, self.members)
        self.class_axis = class_axis
        # Each promised tap: whose, and which layer; None for the member's logits.
        self._promised: dict[str, tuple[str, str | None]] = {}
        self._users = 0

    def __call__(self, inputs: Any, ids: Tensor | None = None) -> Signals:
        """Return the mean prediction and the promised taps.

        Where no member shows logits there are none; taps are as the members give them.

        Raises:
            TeacherError: Members differ in the shape of their logits, or only some show any.
        """
        signals = {name: teacher(inputs, ids) for name, teacher in self.members.items()}
        with torch.no_grad():
            logits = self._mean({name: _dense(name, one) for name, one in signals.items()})
        return Signals(logits, {tap: self._tap(tap, signals) for tap in self._promised})

    def provide(self, names: Sequence[str]) -> None:
        """Promise taps beside those promised before, to one user more of each member.

        Raises:
            TapError: There is no such member, or it has no such layer.
            TeacherError: A member has no layers to show.
        """
        wanted = {tap: self._place(tap) for tap in names}
        opened: list[Teacher] = []
        try:
            for name, teacher in self.members.items():
                layers = [layer for member, layer in wanted.values() if member == name and layer]
                _provide(name, teacher, layers)
                opened.append(teacher)
        except (TapError, TeacherError):
            for teacher in opened:
                teacher.close()
            raise
        self._promised |= wanted
        self._users += 1

    def layer(self, name: str) -> nn.Module:
        """Return a layer of a member, ``"member/layer"``, for losses that copy from it.

        Raises:
            TapError: There is no such member or layer.
            TeacherError: The member's layers cannot be reached.
        """
        member, layer = self._place(name)
        find = getattr(self.members[member], "layer", None)
        if layer is None or find is None:
            raise TeacherError(
                f"EnsembleTeacher: expected 'member/layer', the member one whose layers can be "
                f"reached, such as a FrozenTeacher, found {name!r}"
            )
        found: nn.Module = find(layer)
        return found

    @property
    def memory(self) -> nn.Module | None:
        """What the distiller's state must hold of members that move with the student."""
        found = [getattr(teacher, "memory", None) for teacher in self.members.values()]
        kept = [memory for memory in found if memory is not None]
        return nn.ModuleList(kept) if kept else None

    @property
    def inner(self) -> tuple[Teacher, ...]:
        """The members, for whoever looks for one of a kind."""
        return tuple(self.members.values())

    def set_view(self, view: int) -> None:
        """Hand the view of the next batch on to every member."""
        for teacher in self.inner:
            tell_view(teacher, view)

    def apply_to_tensors(self, function: Callable[[Tensor], Tensor]) -> None:
        """Move or cast every member, one that stands twice in it once."""
        for teacher in {id(teacher): teacher for teacher in self.members.values()}.values():
            teacher.apply_to_tensors(function)

    def named_tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the tensors of all members as ``member/name``."""
        for name, teacher in self.members.items():
            for tensor_name, tensor in teacher.named_tensors():
                yield f"{name}/{tensor_name}", tensor

    def close(self) -> None:
        """End one user's use of every member. Leaving a ``with`` block ends the use of all."""
        self._users = max(self._users - 1, 0)
        for teacher in self.members.values():
            teacher.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for _ in range(max(self._users, 1)):
            self.close()

    def __repr__(self) -> str:
        members = ", ".join(self.members)
        return f"EnsembleTeacher({members}; mean={self.mean!r}, weights={self.weights})"

    def _mean(self, logits: Mapping[str, Tensor | None]) -> Tensor | None:
        shown = {name: one for name, one in logits.items() if one is not None}
        if not shown:
            return None
        shapes = {name: None if one is None else _check.shape(one) for name, one in logits.items()}
        if len(set(shapes.values())) > 1:
            found = ", ".join(f"{name} {shape or 'none'}" for name, shape in shapes.items())
            raise TeacherError(
                f"EnsembleTeacher: expected logits of one shape from all members, found {found}; "
                "give members FrozenTeacher(..., class_map=[...]) with the student's classes"
            )
        return mean_prediction(
            list(shown.values()), self.weights, self.mean, class_axis=self.class_axis
        )

    def _tap(self, tap: str, signals: Mapping[str, Signals]) -> Tensor:
        member, layer = self._promised[tap]
        if layer is not None:
            return signals[member].taps[layer]
        logits = _dense(member, signals[member])
        if logits is None:
            raise TeacherError(
                f"EnsembleTeacher: tap {tap!r} stands for that member's logits, and it shows none; "
                f"name a layer, '{tap}/layer'"
            )
        return logits

    def _place(self, tap: str) -> tuple[str, str | None]:
        member, slash, layer = tap.partition("/")
        if member not in self.members or (slash and not layer):
            raise TapError(
                f"EnsembleTeacher: expected 'member/layer', or 'member' for its logits, found "
                f"{tap!r} ({did_you_mean(member, self.members)})"
            )
        return member, layer or None


def _provide(name: str, teacher: Teacher, layers: Sequence[str]) -> None:
    try:
        teacher.provide(layers)
    except TapError as error:
        raise TapError(f"EnsembleTeacher, member {name!r}: {error}") from None
    except TeacherError as error:
        raise TeacherError(f"EnsembleTeacher, member {name!r}: {error}") from None


def _named(teachers: Mapping[str, Teacher] | Sequence[Teacher]) -> dict[str, Teacher]:
    if not isinstance(teachers, Mapping):
        teachers = {str(number): teacher for number, teacher in enumerate(teachers)}
    if not teachers:
        raise TeacherError("EnsembleTeacher: expected at least one teacher, found none")
    for name, teacher in teachers.items():
        if not isinstance(name, str) or not name or "/" in name:
            raise InputError(
                f"EnsembleTeacher: expected names without '/', which parts member and layer in the "
                f"names of taps, found {name!r}"
            )
        if isinstance(teacher, Itself) or not isinstance(teacher, Teacher):
            raise TeacherError(
                f"EnsembleTeacher: expected teachers that can be asked, found "
                f"{type(teacher).__name__} as {name!r}; wrap a module: FrozenTeacher(module)"
            )
        if (example := getattr(teacher, "sparse_example", None)) is not None:
            raise _too_few(name, example)
    return dict(teachers)


def _dense(name: str, signals: Signals) -> Tensor | None:
    if isinstance(signals.logits, SparseLogits):
        raise _too_few(name, signals.logits)
    return signals.logits


def _too_few(name: str, logits: SparseLogits) -> TeacherError:
    return TeacherError(
        f"EnsembleTeacher: expected all classes from member {name!r}, found the top {logits.k} of "
        f"{logits.num_classes}, of which no mean can be taken; build its cache without --top-k"
    )


def _weights(
    weights: Mapping[str, float] | Sequence[float] | None, members: Mapping[str, Teacher]
) -> tuple[float, ...]:
    if weights is None:
        return (1.0,) * len(members)
    if not isinstance(weights, Mapping) and len(weights) == len(members):
        weights = dict(zip(members, weights, strict=True))
    if not isinstance(weights, Mapping) or weights.keys() != members.keys():
        raise InputError(
            f"EnsembleTeacher.weights: expected one for each of {', '.join(members)}, found "
            f"{weights!r}"
        )
    return tuple(
        _check.positive(weights[name], f"EnsembleTeacher.weights[{name!r}]") for name in members
    )
