"""Do the pieces of a recipe fit together? Asked before anything is trained."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from torch import nn

from tutelage.data import Splits
from tutelage.errors import TapError, TutelageError
from tutelage.recipes.build import build_splits, build_student, build_teacher_model
from tutelage.recipes.chain import Chain
from tutelage.recipes.lookup import without_unwritten
from tutelage.recipes.schema import ArmSettings, Recipe
from tutelage.recipes.source import Fault, Path, Source
from tutelage.recipes.stages import Leg
from tutelage.recipes.terms import TermSettings
from tutelage.signals import OUTPUT
from tutelage.taps import Taps

Made = TypeVar("Made")


def faults_of_fit(
    recipe: Recipe, splits: Splits, student: nn.Module, teacher: nn.Module | None
) -> list[Fault]:
    """Return every layer that does not exist; if there is none, every arm that cannot be built.

    Args:
        recipe: The recipe.
        splits: Its data.
        student: Its student.
        teacher: Its teacher, which needs no right weights for this.
    """
    recipe = without_unwritten(recipe)
    faults = [*layer_faults(recipe, student, teacher)]
    return faults or [*_arm_faults(recipe, splits, teacher)]


def build_models(recipe: Recipe, source: Source) -> tuple[Splits, nn.Module, nn.Module | None]:
    """Return data, student and teacher, or raise one error for all that cannot be built.

    Raises:
        TutelageError: Of the worst kind among them, with the place of each in ``source``.
    """
    errors: list[TutelageError] = []
    faults: list[Fault] = []

    def attempt(section: str, make: Callable[[], Made]) -> Made | None:
        try:
            return make()
        except TutelageError as error:
            errors.append(error)
            faults.append(Fault(_option_of(section, source, str(error)), str(error)))
            return None

    student = teacher = None
    splits = attempt("data", lambda: build_splits(recipe, recipe.seed))
    if splits is not None:
        spec = splits.spec
        student = attempt("student", lambda: build_student(recipe, spec, recipe.seed))
        if recipe.teacher is not None and not recipe.teacher.is_only_cached:
            teacher = attempt("teacher", lambda: build_teacher_model(recipe, spec))
    if splits is None or student is None or errors:
        worst = max(errors, key=lambda error: error.exit_code)
        raise type(worst)(str(source.error(faults)))
    return splits, student, teacher


def _option_of(section: str, source: Source, message: str) -> Path:
    """Return the option of a section that a message names, or else the section."""
    options = source.tree.get(section)
    if not isinstance(options, Mapping):
        return (section,)
    for name in options:
        if re.search(rf"\b{re.escape(str(name))}(:|=| )", message):
            return (section, name)
    for name, value in options.items():
        if isinstance(value, str) and message.startswith((value, repr(value))):
            return (section, name)
    return (section,)


def layer_faults(recipe: Recipe, student: nn.Module, teacher: nn.Module | None) -> Iterator[Fault]:
    """Yield every layer named in a term that does not exist."""
    for path, term in _all_terms(recipe):
        places = term.at or ()
        for number, place in enumerate(places):
            here = (*path, "at") if len(places) == 1 else (*path, "at", number)
            for position, (layer, model) in enumerate(zip(place, (student, teacher), strict=True)):
                if layer is None or model is None or layer.startswith(OUTPUT):
                    continue  # an item of the output is no layer: building the arm finds its faults
                try:
                    Taps(model, [layer]).close()
                except TapError as error:
                    yield Fault((*here, position), str(error), repr(layer))


def _all_terms(recipe: Recipe) -> Iterator[tuple[Path, TermSettings]]:
    seen: set[Path] = set()
    for _, arm in _arms(recipe):
        if arm is not None and (arm.student or arm.reuse_head or arm.teaches_itself):
            continue  # its layers are those of other models: building the arm finds their faults
        for leg in recipe.legs(arm):
            for position, term in enumerate(leg.terms):
                here = (*leg.path, position)
                if here not in seen:  # an arm may take its terms from the recipe
                    seen.add(here)
                    yield here, term


def _arm_faults(recipe: Recipe, splits: Splits, teacher: nn.Module | None) -> Iterator[Fault]:
    seen: set[str] = set()
    for path, arm in _arms(recipe):
        leg = recipe.legs(arm)[0]
        try:
            with Chain(recipe, splits, teacher, seed=recipe.seed, arm=arm) as chain:
                while not chain.is_last:
                    leg = chain.legs[chain.legs.index(chain.leg) + 1]
                    chain.advance()
        except TutelageError as error:
            message = str(error)
            # What is wrong with the recipe's own terms is wrong with each arm that uses them.
            if message not in seen:
                yield Fault(_place_of(message, path, arm, leg), message)
            seen.add(message)


def _arms(recipe: Recipe) -> Iterator[tuple[Path, ArmSettings | None]]:
    yield (), None
    for number, arm in enumerate(recipe.compare.arms if recipe.compare else ()):
        yield ("compare", "arms", number), arm


def _place_of(message: str, path: Path, arm: ArmSettings | None, leg: Leg) -> Path:
    """Return where the term is written that a message is about, as far as it says."""
    if "class_map" in message:
        return ("teacher",) if arm is None else path
    for position, term in enumerate(leg.terms):
        if message.startswith(f"term '{term.name or term.loss}'"):
            return (*leg.path, position)
    return path
