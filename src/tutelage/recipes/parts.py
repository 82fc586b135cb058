"""The sections of a recipe that name data and models."""

from collections.abc import Callable, Collection
from typing import Any, ClassVar

from pydantic import Field

from tutelage import data, models
from tutelage.errors import InputError, did_you_mean
from tutelage.recipes.cached import Cache
from tutelage.recipes.functions import function_at, is_function
from tutelage.recipes.section import Named
from tutelage.recipes.source import Fault
from tutelage.teachers import InputSpec
from tutelage.training.settings import TrainingSettings

_OUTSIDE = ("timm", "torchvision")

FROM_CACHE = "cache"
"""What ``teacher.model`` says where there is no model and all answers come from a cache."""


class DataSettings(Named):
    """A data set by name; its options stand beside it: ``{name: digits, labelled: 100}``.

    Args:
        name: See ``tutelage list data``.
    """

    key: ClassVar[str] = "name"
    given: ClassVar[Collection[str]] = ("seed",)
    name: str

    @classmethod
    def find(cls, name: str) -> Callable[..., Any]:
        """Return the function that loads this data set."""
        known = data.index()
        if name not in known:
            raise InputError(f"unknown data set ({did_you_mean(name, known)})")
        return known[name]

    def build(self, seed: int) -> data.Splits:
        """Return the splits; ``seed`` draws the validation and the labelled images."""
        return data.load(self.name, seed=seed, **self.options)


class StudentSettings(Named):
    """The model to train: ``{model: mlp, widths: [32]}``. Options of the model stand beside it.

    Args:
        model: Built-in name, ``timm/<name>``, ``torchvision/<name>`` or ``path.py:function``.
        weights: A safetensors or pt file to start from.
        pretrained: Start from the weights that timm or torchvision offer (needs the network).
        allow_random_head: Accept a classifier of another size in the file; a fresh one is drawn.
    """

    key: ClassVar[str] = "model"
    given: ClassVar[Collection[str]] = ("num_classes", "in_channels", "size")
    model: str
    weights: str | None = None
    pretrained: bool = False
    allow_random_head: bool = False

    @classmethod
    def find(cls, name: str) -> Callable[..., Any]:
        """Return the function that builds this model."""
        if is_function(name):
            return function_at(name)
        known = models.index()
        if name in known:
            return known[name]
        if name.partition("/")[0] in _OUTSIDE and "/" in name:
            return models.create  # takes any option; timm or torchvision checks it when built
        raise InputError(
            f"unknown model ({did_you_mean(name, known)} or timm/NAME, torchvision/NAME, "
            "path.py:function)"
        )


class TeacherSettings(StudentSettings):
    """The model to learn from, given as weights or trained first (``train:``).

    Args:
        model: As a student's; left out where ``cache`` holds all its answers.
        cache: Where its answers are kept on disk; see ``tutelage cache build``.
        train: Train it before the students, on all labelled training images.
        start: A safetensors or pt file to begin that training from (fine-tuning). Where its
            classifier has another number of classes, a fresh one is drawn and trained.
        num_classes: Its number of classes, if not the data's; then ``class_map`` is needed.
        in_channels: Its colour channels, if not the data's.
        class_map: For each class of the data, the teacher's class.
        mean: Per channel, what the teacher's inputs are shifted by; default: the data's own.
        std: Per channel, what they are divided by.
        size: Height and width that the teacher takes; default: the data's own.
        interpolation: How images are resized to it.
    """

    cache: Cache | None = None
    train: TrainingSettings | None = None
    start: str | None = None
    num_classes: int | None = Field(None, ge=1)
    in_channels: int | None = Field(None, ge=1)
    class_map: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    interpolation: str | None = None

    @property
    def is_only_cached(self) -> bool:
        """Whether there is no model, and a cache gives all answers."""
        return self.model == FROM_CACHE

    @classmethod
    def find(cls, name: str) -> Callable[..., Any]:
        """Return the function that builds this model; a cache has none."""
        return _no_model if name == FROM_CACHE else super().find(name)

    @classmethod
    def _examine(cls, data: dict[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
        if data.get("cache") is not None:
            data.setdefault(cls.key, FROM_CACHE)
        return super()._examine(data)

    def stated_inputs(self) -> InputSpec | None:
        """Return what is said here about the teacher's inputs, or ``None`` if nothing is.

        Raises:
            TeacherError: If it contradicts itself.
        """
        said: dict[str, Any] = {
            "mean": self.mean,
            "std": self.std,
            "size": self.size,
            "channels": self.in_channels,
            "interpolation": self.interpolation,
        }
        said = {key: value for key, value in said.items() if value is not None}
        return InputSpec(**said) if said else None


def _no_model() -> None:
    """Stand for the model of a cached teacher, which has no options."""
