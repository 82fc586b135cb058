"""The student of a run folder, put to the test again."""

from dataclasses import dataclass
from typing import Literal

from tutelage.data import ImageData
from tutelage.errors import InputError
from tutelage.models import load_weights
from tutelage.recipes.build import (
    build_splits,
    build_student,
    build_teacher,
    build_teacher_model,
)
from tutelage.recipes.load import from_text
from tutelage.recipes.teacher import TEACHER_FILE
from tutelage.recipes.threads import threads
from tutelage.runs import RunFolder
from tutelage.training import Evaluation, evaluate, open_ranks

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class RunEvaluation:
    """What :func:`evaluate_run` finds.

    Args:
        student: The student's numbers; agreement and divergence are against the teacher.
        teacher: The teacher's own, if the run has one.
        images: What both were asked about.
    """

    student: Evaluation
    teacher: Evaluation | None
    images: str


def evaluate_run(folder: RunFolder, part: Part = "test", device: str = "auto") -> RunEvaluation:
    """Evaluate ``student.safetensors`` of a run folder, beside its teacher if it was kept.

    Args:
        folder: A finished run.
        part: Which images.
        device: Where to compute.

    Raises:
        InputError: If the folder has no recipe or no student.
        DataError: If the weights are damaged.
    """
    recipe_file, weights = folder.path / "recipe.yaml", folder.path / "student.safetensors"
    for file in (recipe_file, weights):
        if not file.is_file():
            raise InputError(
                f"run folder {folder.path}: expected {file.name} in it, found none; "
                "is this a run folder, and did the run finish?"
            )
    recipe = from_text(recipe_file.read_text(encoding="utf-8"), str(recipe_file))
    # Every weight comes from the run folder: what the run started from may be gone by now.
    bare = {"weights": None, "pretrained": False}
    student_settings = recipe.student.model_copy(update=bare)
    recipe = recipe.model_copy(update={"student": student_settings})
    splits = build_splits(recipe, recipe.seed)
    data: ImageData = getattr(splits, part)
    with threads(recipe.threads), open_ranks(device) as ranks:
        student = build_student(recipe, splits.spec, recipe.seed)
        load_weights(student, weights)
        teacher, own = None, None
        teacher_file = folder.path / TEACHER_FILE
        if recipe.teacher is not None and teacher_file.is_file():
            model = build_teacher_model(recipe.with_teacher_from(teacher_file), splits.spec)
            teacher = build_teacher(recipe, model, splits.spec).to(ranks.device)
            own = evaluate(teacher, data, device=ranks.device)
        found = evaluate(student.to(ranks.device), data, device=ranks.device, teacher=teacher)
    return RunEvaluation(found, own, f"{len(data)} {part} images of {splits.spec.name}")
