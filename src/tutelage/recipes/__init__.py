"""Recipes: a whole distillation as one value, from YAML or Python."""

from tutelage.recipes.load import describe, from_text, load, shipped
from tutelage.recipes.schema import ArmSettings, CompareSettings, Recipe

__all__ = [
    "ArmSettings",
    "CompareSettings",
    "Recipe",
    "describe",
    "from_text",
    "load",
    "shipped",
]
