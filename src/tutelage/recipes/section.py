"""What the sections of a recipe have in common: frozen, and strict about their keys."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from tutelage.errors import TutelageError
from tutelage.recipes import options
from tutelage.recipes.source import Fault, Shown, shown

_OURS = "recipe"


class Section(BaseModel):
    """A part of a recipe: frozen; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None}


class Named(BaseModel):
    """A section that names something and holds its options beside the name.

    ``{loss: kd, temperature: 4}`` names a loss, and ``temperature`` must be an option of it. The
    options are checked against its signature, not listed here a second time.

    Class attributes:
        key: The field that holds the name.
        given: Parameters of the named thing that the program sets, not the recipe.
    """

    model_config = ConfigDict(extra="allow", frozen=True)
    key: ClassVar[str]
    given: ClassVar[Collection[str]] = ()

    @property
    def options(self) -> dict[str, Any]:
        """The options written beside the name."""
        return dict(self.model_extra or {})

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        own = self.model_extra or {}  # a null written as an option is kept
        tree = handler(self).items()
        return {key: value for key, value in tree if value is not None or key in own}

    @classmethod
    def find(cls, name: str) -> Callable[..., Any]:
        """Return what ``name`` stands for.

        Raises:
            TutelageError: If there is no such thing; the message suggests others.
        """
        raise NotImplementedError

    @classmethod
    def inspect(cls, function: Callable[..., Any], own: dict[str, Any]) -> list[Fault]:
        """Return what is wrong with options of the right names and types; nothing by default."""
        return []

    @model_validator(mode="wrap")
    @classmethod
    def _check_options(cls, data: Any, handler: ModelWrapValidatorHandler["Named"]) -> "Named":
        if not isinstance(data, Mapping):
            return handler(data)
        written, faults = cls._examine(dict(data))
        errors = [_as_detail(fault) for fault in faults]
        try:
            section = handler(written)
        except ValidationError as error:
            errors += [_again(detail) for detail in error.errors()]
        if errors:
            raise ValidationError.from_exception_data(cls.__name__, errors)
        return section

    @classmethod
    def _examine(cls, data: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
        """Return the section with its options repaired, and what is wrong with them."""
        name = data.get(cls.key)
        if not isinstance(name, str):  # the field itself will complain
            return {key: value for key, value in data.items() if key in cls.model_fields}, []
        try:
            function = cls.find(name)
        except TutelageError as error:
            return data, [Fault((cls.key,), str(error), shown(name))]
        own = {key: value for key, value in data.items() if key not in cls.model_fields}
        given = [*cls.given, *cls.model_fields]
        repaired, faults = options.check(function, own, given=given, also=cls.model_fields)
        if not faults:
            faults = cls.inspect(function, repaired)
        return data | repaired, faults


def as_error(title: str, faults: list[Fault]) -> ValidationError:
    """Return pydantic's error for ``faults``; inside a validator it joins all the others."""
    return ValidationError.from_exception_data(title, [_as_detail(fault) for fault in faults])


def locate(error: TutelageError, own: Mapping[str, Any]) -> Fault:
    """Return the fault for an error of a constructor: at the option it names, if it names one."""
    head = str(error).partition(":")[0]
    name = next((name for name in own if head.endswith(f".{name}") or head == name), None)
    return Fault((name,) if name else (), str(error), shown(own[name]) if name else "")


def _as_detail(fault: Fault) -> InitErrorDetails:
    kind = PydanticCustomError(_OURS, "{message}", {"message": fault.message})
    # The input is only carried for display: a section's own value would print as nothing.
    return InitErrorDetails(type=kind, loc=fault.path, input=Shown(fault.value))


def _again(detail: Any) -> InitErrorDetails:
    kind: Any = detail["type"]
    if kind == _OURS:
        kind = PydanticCustomError(_OURS, "{message}", {"message": detail["msg"]})
    result = InitErrorDetails(type=kind, loc=detail["loc"], input=detail["input"])
    if "ctx" in detail and detail["type"] != _OURS:
        result["ctx"] = detail["ctx"]
    return result
