"""Do the pieces of a recipe fit together? Asked before anything is trained."""

from collections.abc import Iterator

from torch import nn

from tutelage.data import Splits
from tutelage.errors import TapError, TutelageError
from tutelage.recipes.build import build_distiller
from tutelage.recipes.schema import ArmSettings, Recipe
from tutelage.recipes.source import Fault, Path
from tutelage.recipes.terms import TermSettings
from tutelage.taps import Taps


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
    faults = [*_layer_faults(recipe, student, teacher)]
    return faults or [*_arm_faults(recipe, splits, teacher)]


def _layer_faults(recipe: Recipe, student: nn.Module, teacher: nn.Module | None) -> Iterator[Fault]:
    for path, term in _all_terms(recipe):
        for position, model in enumerate((student, teacher)):
            if term.at is None or model is None:
                continue
            try:
                Taps(model, [term.at[position]]).close()
            except TapError as error:
                yield Fault((*path, "at", position), str(error), repr(term.at[position]))


def _all_terms(recipe: Recipe) -> Iterator[tuple[Path, TermSettings]]:
    for position, term in enumerate(recipe.terms):
        yield ("terms", position), term
    for number, arm in enumerate(recipe.compare.arms if recipe.compare else ()):
        for position, term in enumerate(arm.terms or ()):
            yield ("compare", "arms", number, "terms", position), term


def _arm_faults(recipe: Recipe, splits: Splits, teacher: nn.Module | None) -> Iterator[Fault]:
    seen: set[str] = set()
    for path, arm in _arms(recipe):
        try:
            build_distiller(recipe, splits, teacher, seed=recipe.seed, arm=arm).close()
        except TutelageError as error:
            message = str(error)
            # What is wrong with the recipe's own terms is wrong with each arm that uses them.
            if message not in seen:
                yield Fault((*path, *_term_of(message, recipe, arm)), message)
            seen.add(message)


def _arms(recipe: Recipe) -> Iterator[tuple[Path, ArmSettings | None]]:
    yield (), None
    for number, arm in enumerate(recipe.compare.arms if recipe.compare else ()):
        yield ("compare", "arms", number), arm


def _term_of(message: str, recipe: Recipe, arm: ArmSettings | None) -> Path:
    """Return where the term is written that a message is about, as far as it says."""
    for position, term in enumerate(recipe.terms_of(arm) if arm else recipe.terms):
        if message.startswith(f"term '{term.name or term.loss}'"):
            return ("terms", position)
    return ()
