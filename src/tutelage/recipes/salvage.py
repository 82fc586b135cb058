"""What is whole in a faulty recipe, so that its layers can be looked at in the same go."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from tutelage.recipes.schema import Recipe
from tutelage.recipes.terms import TermSettings


def salvage(tree: Mapping[str, Any]) -> Recipe | None:
    """Return a recipe of the valid parts of ``tree``, its terms where they were.

    Faulty terms are replaced by harmless ones and the training by one step; ``None`` if data,
    student or teacher are faulty themselves.

    >>> parts = {"data": {"name": "digits"}, "student": {"model": "mlp", "widths": [4]}}
    >>> salvage(parts | {"terms": [{"loss": "oops"}], "training": 3}).terms[0].loss
    'ce'
    """
    teacher = tree.get("teacher")
    if isinstance(teacher, Mapping):
        teacher = {**teacher, "train": {"steps": 1}}
    student = tree.get("student")
    if isinstance(student, Mapping):  # shapes do not depend on weights
        student = {**student, "weights": None, "pretrained": False}
    compare = tree.get("compare")
    arms = compare.get("arms") if isinstance(compare, Mapping) else None
    whole = {
        "name": "salvaged",
        "data": tree.get("data"),
        "student": student,
        "teacher": teacher,
        "terms": _terms(tree.get("terms")) or [{"loss": "ce"}],
        "stages": _stages(tree.get("stages")) or (),
        "training": {"steps": 1},
        "compare": _compare(arms) if isinstance(arms, list) and arms else None,
    }
    with suppress(ValidationError):
        return Recipe.model_validate(whole)
    return None


def _compare(arms: list[Any]) -> dict[str, Any]:
    kept = []
    for position, arm in enumerate(arms):
        # Layers of an arm's own models cannot be looked up in the recipe's.
        own = isinstance(arm, Mapping) and (
            arm.get("student") or arm.get("reuse_head") or arm.get("teacher") in ("itself", "ema")
        )
        looked_at = arm if isinstance(arm, Mapping) and not own else {}
        terms, stages = _terms(looked_at.get("terms")), _stages(looked_at.get("stages"))
        role = "method" if position else "baseline"
        kept.append({"name": str(position), "role": role, "terms": terms, "stages": stages})
    return {"arms": kept}


def _stages(stages: Any) -> list[dict[str, Any]] | None:
    """Return the stages where they were, with their terms alone."""
    if not isinstance(stages, list) or not stages:
        return None
    found = [_terms(one.get("terms")) if isinstance(one, Mapping) else None for one in stages]
    return [{"name": str(n), "terms": t or [{"loss": "ce"}]} for n, t in enumerate(found)]


def _terms(terms: Any) -> list[dict[str, Any]] | None:
    """Return the terms, each under a name of its own, the faulty ones replaced."""
    if not isinstance(terms, list) or not terms:
        return None
    kept = []
    for position, term in enumerate(terms):
        try:
            TermSettings.model_validate(term)
        except ValidationError:
            term = {"loss": "ce"}
        kept.append({**term, "name": str(position), "weight": 1.0})
    return kept
