"""The terms of a recipe: losses with their weights, places and projectors."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationError

from tutelage import losses, projectors, schedules
from tutelage.errors import InputError, TutelageError, did_you_mean
from tutelage.objective import Term
from tutelage.recipes.section import Named, locate
from tutelage.recipes.source import Fault, shown


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
        return _look_up(name, projectors.index(), "projector")

    @classmethod
    def inspect(cls, function: Callable[..., Any], own: dict[str, Any]) -> list[Fault]:
        """Build the projector once, so that it finds its own faults."""
        return _try_out(function, own)

    def build(self) -> projectors.Projector:
        """Return a new projector."""
        made: projectors.Projector = self.find(self.type)(**self.options)
        return made


def _kind_of_weight(value: Any) -> str:
    return "schedule" if isinstance(value, Mapping | ScheduleSettings) else "number"


def _one_name_for_both(value: Any) -> Any:
    if isinstance(value, list | tuple) and len(value) != 2:
        raise ValueError("expected [student_layer, teacher_layer], or one name for both")
    return [value, value] if isinstance(value, str) else value


def _bare_type(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


Weight = Annotated[
    Annotated[float, Field(ge=0, allow_inf_nan=False), Tag("number")]
    | Annotated[ScheduleSettings, Tag("schedule")],
    Discriminator(_kind_of_weight),
]


class TermSettings(Named):
    """One loss: ``{loss: kd, temperature: 4, weight: 0.9}``. Options of the loss stand beside it.

    Args:
        loss: Name of the loss; see ``tutelage list losses``.
        weight: Factor in the total, at least 0, or a schedule. A constant 0 only watches.
        at: ``[student_layer, teacher_layer]``, or one name for both; needed by feature losses.
        via: Projector between the two, usually ``auto``.
        name: Name in logs and reports. Default: the loss's.
        class_axis: Axis of the classes in the logits: the last one, unless stated (1 for dense
            ``[B, C, H, W]``).
    """

    key: ClassVar[str] = "loss"
    loss: str
    weight: Weight = 1.0
    at: Annotated[tuple[str, str] | None, BeforeValidator(_one_name_for_both)] = None
    via: Annotated[ProjectorSettings | None, BeforeValidator(_bare_type)] = None
    name: str | None = None
    class_axis: int | None = None

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
        via = self.via.build() if self.via else None
        return Term(loss, weight, self.at, via, self.name, self.class_axis)


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
