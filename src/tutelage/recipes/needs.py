"""What the terms of a recipe read of the teacher: layers, and logits at certain temperatures."""

from typing import cast

from tutelage.errors import RecipeError
from tutelage.losses import Loss
from tutelage.recipes.schema import Recipe
from tutelage.recipes.terms import TermSettings


def taps_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the teacher's layers that any term of the recipe reads, each once."""
    layers = (theirs for term in _terms(recipe) for _, theirs in term.at or () if theirs)
    return tuple(dict.fromkeys(layers))


def temperatures_of(recipe: Recipe) -> tuple[float, ...]:
    """Return the temperatures at which any term of the recipe softens the teacher's logits.

    Raises:
        RecipeError: If one follows a schedule: a cache of the likeliest classes knows the mass of
            the others at a few temperatures only.
    """
    found: set[float] = set()
    for term in _terms(recipe):
        loss = term.build().loss
        if not isinstance(loss, Loss) or not hasattr(loss, "temperature"):
            continue
        if loss.is_scheduled:
            raise RecipeError(
                f"term '{term.name or term.loss}': expected a constant temperature for a cache of "
                "the likeliest classes, found a schedule; build the cache without --top-k"
            )
        found.add(float(cast(float, loss.temperature)))
    return tuple(sorted(found))


def _terms(recipe: Recipe) -> list[TermSettings]:
    arms = recipe.compare.arms if recipe.compare else ()
    terms = [term for leg in recipe.legs() for term in leg.terms]
    for arm in arms:
        if arm.teacher in ("own", "shuffled"):
            terms += [term for leg in recipe.legs(arm) for term in leg.terms]
    return [term for term in terms if term.loss_class.needs_teacher]
