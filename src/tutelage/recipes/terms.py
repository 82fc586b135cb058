"""The terms of a recipe: losses with their weights, places and projectors."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationError, field_serializer

from tutelage import losses, normalizers, projectors, schedules
from tutelage.errors import InputError, TapError, TutelageError, did_you_mean
from tutelage.objective import Place, Term, places_of
from tutelage.recipes import options
from tutelage.recipes.section import Named, locate
from tutelage.recipes.source import Fault, shown

AUTO, PAPER = "auto", "paper"
"""What ``via`` says for a projector that finds its own kind, and for that of the loss's paper."""


class ScheduleSettings(Named):
    """A value that changes with the optimiser step: ``{type: linear, start: 0, end: 1, steps: 9}``.

    Args:
        type: One of ``tutelage.schedules``; its options stand beside it.
    """

    key: ClassVar[str] = "type"
    type: str

    @classmethod
    def find(cls, name: str) -> Callable[..., Any]:
        """Return the schedule class of this name."""
        return _look_up(name, schedules.index(), "schedule")

    @classmethod
    def inspect(cls, function: Callable[..., Any], own: dict[str, Any]) -> list[Fault]:
        """Build the schedule once, so that it finds its own faults."""
        return _try_out(function, own)

    def build(self) -> Callable[[int], float]:
        """Return the schedule."""
        made: Callable[[int], float] = self.find(self.type)(**self.options)
        return made


class ProjectorSettings(Named):
    """What brings the student's tensor to the teacher's shape: ``auto``, or ``{type: conv, ...}``.

    Args:
        type: One of ``tutelage.projectors``; its options stand beside it.
    """

    key: ClassVar[str] = "type"
    type: str

    @classmethod
    def find(cls, name: str) -> Callable[..., Any]:
        """Return the projector class of this name."""
        known = {**projectors.index(), PAPER: _from_the_paper}
        return _look_up(name, known, "projector")

    @classmethod
    def inspect(cls, function: Callable[..., Any], own: dict[str, Any]) -> list[Fault]:
        """Build the projector once, so that it finds its own faults."""
        return [] if _lacks(function, own) else _try_out(function, own)

    @classmethod
    def _examine(cls, data: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
        # Widths may be left out: they are then read off the first tensors.
        repaired, faults = super()._examine(data)
        kind = projectors.index().get(str(data.get(cls.key)))
        if kind is not None and "between" in vars(kind):
            faults = [fault for fault in faults if fault.message != options.REQUIRED]
        return repaired, faults

    def build(self) -> projectors.Projector | projectors.Deferred | str:
        """Return a new projector, or what stands for one that the loss knows."""
        if self.type in (AUTO, PAPER):
            return self.type
        kind = projectors.index()[self.type]
        if _lacks(kind, self.options):
            return projectors.Deferred(kind, **self.options)
        return kind(**self.options)


class NormalizerSettings(Named):
    """What puts the teacher's tensor on a scale of its own: ``layer_norm``, ``{type: phi_s}``.

    Args:
        type: One of ``tutelage.normalizers``; its options stand beside it.
    """

    key: ClassVar[str] = "type"
    type: str

    @classmethod
    def find(cls, name: str) -> Callable[..., Any]:
        """Return the normaliser class of this name."""
        return _look_up(name, normalizers.index(), "normaliser")

    @classmethod
    def inspect(cls, function: Callable[..., Any], own: dict[str, Any]) -> list[Fault]:
        """Build the normaliser once, so that it finds its own faults."""
        return _try_out(function, own)

    def build(self) -> normalizers.Normalizer | str:
        """Return its name, or a new one with the options."""
        return normalizers.index()[self.type](**self.options) if self.options else self.type


def _kind_of_weight(value: Any) -> str:
    return "schedule" if isinstance(value, Mapping | ScheduleSettings) else "number"


def _places(value: Any) -> Any:
    if value is None:
        return None
    try:
        return places_of(value, "at")
    except TapError:
        raise ValueError(
            "expected [student_layer, teacher_layer], one name for both, or a list of such pairs"
        ) from None


def _bare_type(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


def _bare_types(value: Any) -> Any:
    return [_bare_type(one) for one in value] if isinstance(value, list) else _bare_type(value)


def _kind_of_via(value: Any) -> str:
    return "list" if isinstance(value, list | tuple) else "one"


Weight = Annotated[
    Annotated[float, Field(ge=0, allow_inf_nan=False), Tag("number")]
    | Annotated[ScheduleSettings, Tag("schedule")],
    Discriminator(_kind_of_weight),
]


Via = Annotated[
    Annotated[ProjectorSettings, Tag("one")]
    | Annotated[tuple[ProjectorSettings, ...], Tag("list")],
    Discriminator(_kind_of_via),
]


class TermSettings(Named):
    """One loss: ``{loss: kd, temperature: 4, weight: 0.9}``. Options of the loss stand beside it.

    Args:
        loss: Name of the loss; see ``tutelage list losses``.
        weight: Factor in the total, at least 0, or a schedule. A constant 0 only watches.
        at: ``[student_layer, teacher_layer]``, or one name for both; needed by feature losses.
            ``null`` on a side is that model's logits; a loss of several layers takes a list of
            pairs.
        via: Projector between the two: ``auto``, ``paper`` for the one of the loss's paper, or
            ``{type: conv, norm: true}``; widths that are left out are read off the first tensors.
            For several layers also a list.
        name: Name in logs and reports. Default: the loss's.
        class_axis: Axis of the classes in the logits: the last one, unless stated (1 for dense
            ``[B, C, H, W]``).
        normalize: What puts the teacher's tensor on a scale of its own: ``layer_norm``,
            ``batch_norm`` or ``phi_s``, or ``{type: ...}`` with options.
        borrow: The teacher's layer from which the loss copies what it needs of it.
    """

    key: ClassVar[str] = "loss"
    loss: str
    weight: Weight = 1.0
    at: Annotated[tuple[Place, ...] | None, BeforeValidator(_places)] = None
    via: Annotated[Via | None, BeforeValidator(_bare_types)] = None
    name: str | None = None
    class_axis: int | None = None
    normalize: Annotated[NormalizerSettings | None, BeforeValidator(_bare_type)] = None
    borrow: str | None = None

    @field_serializer("at")
    def _short(self, at: tuple[Place, ...] | None) -> Any:
        return list(at[0]) if at is not None and len(at) == 1 else at

    @classmethod
    def find(cls, name: str) -> Callable[..., Any]:
        """Return the loss class of this name."""
        return _look_up(name, losses.index(), "loss")

    @classmethod
    def inspect(cls, function: Callable[..., Any], own: dict[str, Any]) -> list[Fault]:
        """Build the loss once, so that it finds its own faults."""
        faults = []
        for option, value in own.items():
            if isinstance(value, Mapping):
                try:
                    ScheduleSettings.model_validate(value)
                except ValidationError as error:
                    faults += [
                        Fault((option, *detail["loc"]), detail["msg"], shown(detail["input"]))
                        for detail in error.errors()
                    ]
        return faults or _try_out(function, _with_schedules(own))

    @property
    def loss_class(self) -> type[losses.Loss]:
        """The class of the loss."""
        return losses.index()[self.loss]

    def build(self) -> Term:
        """Return a new term with its own loss and projector."""
        loss = self.loss_class(**_with_schedules(self.options))
        weight = self.weight.build() if isinstance(self.weight, ScheduleSettings) else self.weight
        normalize = self.normalize.build() if self.normalize else None
        return Term(
            loss,
            weight,
            self.at,
            self._bridge(),
            self.name,
            self.class_axis,
            normalize=normalize,
            borrow=self.borrow,
        )

    def _bridge(self) -> Any:
        """Return what the term takes as ``via``: for several layers, a projector for each."""
        via = self.via
        if via is None or isinstance(via, tuple):
            return via and [one.build() for one in via]
        built, layers = via.build(), len(self.at or ())
        if layers < 2 or isinstance(built, str) or built.takes_layers:
            return built
        return [built, *(via.build() for _ in range(layers - 1))]


def _from_the_paper() -> str:
    return PAPER


def _lacks(function: Callable[..., Any], own: Mapping[str, Any]) -> bool:
    return any(
        parameter.default is parameter.empty and name not in own
        for name, parameter in (options.parameters(function) or {}).items()
    )


def _look_up(name: str, known: Mapping[str, Any], what: str) -> Callable[..., Any]:
    if name not in known:
        raise InputError(f"unknown {what} ({did_you_mean(name, known)})")
    found: Callable[..., Any] = known[name]
    return found


def _try_out(function: Callable[..., Any], own: Mapping[str, Any]) -> list[Fault]:
    try:
        function(**own)
    except TutelageError as error:
        return [locate(error, own)]
    except (TypeError, ValueError) as error:
        return [Fault((), f"{error}")]
    return []


def _with_schedules(own: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with each ``{type: linear, ...}`` turned into its schedule."""
    return {
        name: ScheduleSettings.model_validate(value).build()
        if isinstance(value, Mapping)
        else value
        for name, value in own.items()
    }
