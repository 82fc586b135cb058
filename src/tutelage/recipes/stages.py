"""Earlier stages of a recipe: other terms for the same student before its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from tutelage.recipes.section import Section
from tutelage.recipes.source import Path
from tutelage.recipes.terms import TermSettings
from tutelage.training.settings import TrainingSettings


class StageSettings(Section):
    """What the student is trained on before the terms that it is judged by.

    Its weights go on to the next stage. So does what a term has learnt, projector included, to a
    term of the same name and kind. Layers that no term of the stage reaches rest in it.

    Args:
        name: Its name; the log calls it ``ARM/NAME``.
        terms: What it trains on.
        training: Settings that differ from those of the stages' recipe or arm. ``epochs`` and
            ``steps`` stand for each other; ``selection`` is none: the last student goes on.
    """

    name: str = Field(min_length=1)
    terms: tuple[TermSettings, ...]
    training: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Leg:
    """One stage of a training as it is run; the last one has no name.

    Args:
        name: The stage's name, or ``None`` for the terms that the student is judged by.
        terms: What it trains on.
        training: How.
        path: Where in the recipe the list of its terms is written.
    """

    name: str | None
    terms: tuple[TermSettings, ...]
    training: TrainingSettings
    path: Path

    @property
    def length(self) -> str:
        """How long it trains, in words."""
        if self.training.steps is not None:
            return f"{self.training.steps} steps"
        return f"{self.training.epochs} epoch{'s' * (self.training.epochs != 1)}"

    @property
    def needs_teacher(self) -> bool:
        """Whether any term compares with a teacher."""
        return any(term.loss_class.needs_teacher for term in self.terms)


def settings_with(base: TrainingSettings, changes: Mapping[str, Any]) -> TrainingSettings:
    """Return training settings with changes; a length in steps replaces one in epochs.

    >>> settings_with(TrainingSettings(epochs=3), {"steps": 5}).epochs is None
    True
    """
    tree = base.model_dump()
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if changes.get(one) is not None and other not in changes:
            tree[other] = None
    return TrainingSettings.model_validate(tree | dict(changes))
