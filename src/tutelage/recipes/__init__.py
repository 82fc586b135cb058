"""Recipes: a whole distillation as one value, from YAML or Python, and how it is run."""

from tutelage.recipes.build import Pieces
from tutelage.recipes.evaluation import RunEvaluation, evaluate_run
from tutelage.recipes.load import describe, from_text, load, shipped
from tutelage.recipes.run import distill, run_comparison, write_report
from tutelage.recipes.schema import ArmSettings, CompareSettings, Recipe
from tutelage.recipes.teacher import train_teacher
from tutelage.recipes.watch import Watch

__all__ = [
    "ArmSettings",
    "CompareSettings",
    "Pieces",
    "Recipe",
    "RunEvaluation",
    "Watch",
    "describe",
    "distill",
    "evaluate_run",
    "from_text",
    "load",
    "run_comparison",
    "shipped",
    "train_teacher",
    "write_report",
]
