"""From a recipe to the pieces of a run: data, models, teacher, distiller."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from tutelage import data, models
from tutelage.data import DataSpec, Splits
from tutelage.distiller import Distiller
from tutelage.errors import RecipeError
from tutelage.losses import Loss
from tutelage.objective import Objective
from tutelage.recipes.carry import follow, hand_on
from tutelage.recipes.functions import function_at, is_function, run_function
from tutelage.recipes.lookup import answering
from tutelage.recipes.parts import StudentSettings, TeacherSettings
from tutelage.recipes.reuse import through_head
from tutelage.recipes.schema import ArmSettings, Recipe
from tutelage.recipes.stages import Leg
from tutelage.recipes.terms import TermSettings
from tutelage.teachers import (
    EMATeacher,
    FrozenTeacher,
    InputAdapter,
    InputSpec,
    Itself,
    ShuffledTeacher,
    Teacher,
    input_spec_of,
)
from tutelage.training.seeds import forked, seed_everything

Made = TypeVar("Made")
_EXAMPLE = 4  # samples of the dry run: enough for batch statistics


@dataclass(frozen=True)
class Pieces:
    """What a recipe is built into.

    Args:
        splits: The data.
        distiller: Student, teacher and terms.
    """

    splits: Splits
    distiller: Distiller

    @property
    def student(self) -> nn.Module:
        """The model to train."""
        return self.distiller.student

    @property
    def teacher(self) -> Teacher | None:
        """The model to learn from."""
        return self.distiller.teacher


def build(recipe: Recipe, *, seed: int | None = None, arm: ArmSettings | None = None) -> Pieces:
    """Build everything of a recipe whose teacher needs no training first.

    Args:
        recipe: The recipe.
        seed: Seed of data and first weights; default: the recipe's.
        arm: An arm of its comparison; default: the recipe's own terms.

    Raises:
        TutelageError: If a piece cannot be built, or the pieces do not fit.
    """
    seed = recipe.seed if seed is None else seed
    splits = build_splits(recipe, seed)
    model = None
    wanted = needs_teacher(recipe, arm) or (arm is not None and arm.reuse_head is not None)
    if recipe.teacher is not None and wanted and not recipe.teacher.is_only_cached:
        if recipe.teacher.train is not None and recipe.teacher.weights is None:
            raise RecipeError(
                "teacher.train: this recipe's teacher has to be trained first; use "
                "tutelage.recipes.train_teacher, or give teacher.weights"
            )
        model = build_teacher_model(recipe, splits.spec)
    return Pieces(splits, build_distiller(recipe, splits, model, seed=seed, arm=arm))


def build_splits(recipe: Recipe, seed: int) -> Splits:
    """Return the data; ``seed`` draws the labelled images, never validation or test images."""
    return data.load(recipe.data.name, seed=seed, **recipe.data.options)


def build_student(
    recipe: Recipe, spec: DataSpec, seed: int, arm: ArmSettings | None = None
) -> nn.Module:
    """Return the student with the first weights of ``seed``, the same in every arm of its kind."""
    return _seeded(seed, lambda: _model(recipe.student_of(arm), spec))


def build_teacher_model(recipe: Recipe, spec: DataSpec) -> nn.Module:
    """Return the teacher's module, with its weights if the recipe gives any."""
    assert recipe.teacher is not None
    settings = recipe.teacher
    # Another seed than the student's: a teacher of its own architecture must not begin as its twin.
    return _seeded(recipe.seed + 2**20, lambda: _model(settings, spec))


def build_teacher(recipe: Recipe, model: nn.Module, spec: DataSpec) -> FrozenTeacher:
    """Return ``model`` frozen, taking the images that the data give and converting them itself."""
    assert recipe.teacher is not None
    wanted = wanted_by(recipe.teacher, model)
    return FrozenTeacher(
        model, inputs=wanted, given=_given_by(spec), class_map=recipe.teacher.class_map
    )


def through_conversion(recipe: Recipe, model: nn.Module, spec: DataSpec) -> nn.Module:
    """Return the teacher's module behind the conversion of images that it will be asked through."""
    assert recipe.teacher is not None
    wanted = wanted_by(recipe.teacher, model)
    if wanted is None:
        return model
    return nn.Sequential(OrderedDict(adapter=InputAdapter(_given_by(spec), wanted), model=model))


def _given_by(spec: DataSpec) -> InputSpec:
    return InputSpec(mean=spec.mean, std=spec.std, size=spec.size, channels=spec.channels)


def build_distiller(
    recipe: Recipe,
    splits: Splits,
    teacher_model: nn.Module | None,
    *,
    seed: int,
    arm: ArmSettings | None = None,
    device: torch.device | str = "cpu",
    before: tuple[Distiller, Leg] | None = None,
) -> Distiller:
    """Return the distiller of one arm and seed, its projectors sized by a few images.

    Of an arm in stages this is the first one's, and each is built from the one before it.

    First weights are drawn on the CPU, so that they are the same on every device.

    Args:
        recipe: The recipe.
        splits: Its data.
        teacher_model: The teacher's module; ``None`` where no term needs one.
        seed: Seed of the student's and the projectors' first weights.
        arm: The arm; default: the recipe's own terms.
        device: Where it is to be trained.
        before: The distiller of the stage before, which is closed, and that stage. The student
            goes on, and so does what terms of the same name and kind have learnt.
    """
    legs = recipe.legs(arm)
    leg = legs[0] if before is None else legs[legs.index(before[1]) + 1]
    example = example_of(splits).to(device)
    if before is not None:
        before[0].close()
        student = before[0].student
    else:
        student = _first_student(recipe, splits, teacher_model, example, seed, arm)
    teacher = _teacher_of(recipe, splits, teacher_model, student, leg, seed, arm)
    target = None
    mixes = leg.training.mixup is not None or leg.training.cutmix is not None
    if mixes:  # labels become probabilities
        classes = splits.spec.num_classes
        target = torch.full((len(example), classes), 1 / classes, device=example.device)
    ids = splits.labelled.ids
    earlier = None if before is None else before[0].objective

    def make() -> Distiller:
        return _distiller(student, teacher, leg.terms, example, target, ids, earlier)

    return _seeded(seed, make)


def _first_student(
    recipe: Recipe,
    splits: Splits,
    teacher_model: nn.Module | None,
    example: Tensor,
    seed: int,
    arm: ArmSettings | None,
) -> nn.Module:
    student = build_student(recipe, splits.spec, seed, arm).to(example.device)
    if arm is not None and arm.reuse_head is not None:
        if teacher_model is None:
            raise RecipeError("reuse_head: expected a teacher whose classifier to use, found none")
        asked = build_teacher(recipe, teacher_model, splits.spec).to(example.device)
        reuse, body = arm.reuse_head, student
        student = _seeded(seed, lambda: through_head(reuse, body, asked, example))
    return student


def _teacher_of(
    recipe: Recipe,
    splits: Splits,
    teacher_model: nn.Module | None,
    student: nn.Module,
    leg: Leg,
    seed: int,
    arm: ArmSettings | None,
) -> Teacher | None:
    """Return whom the student learns from in one stage."""
    if arm is not None and arm.teaches_itself:
        if not leg.needs_teacher:
            return None
        return Itself() if arm.teacher == "itself" else EMATeacher(student)
    if recipe.teacher is None or not leg.needs_teacher:
        return None
    device = next(student.parameters()).device
    live = None
    if teacher_model is not None:
        model = teacher_model
        live = lambda: build_teacher(recipe, model, splits.spec).to(device)  # noqa: E731
    teacher = answering(recipe, splits, live)
    if teacher is not None and arm is not None and arm.teacher == "shuffled":
        return ShuffledTeacher(teacher, seed=seed)
    return teacher


def needs_teacher(recipe: Recipe, arm: ArmSettings | None = None) -> bool:
    """Return whether any term of the arm (or of the recipe) compares with the recipe's teacher."""
    if arm is not None and arm.teaches_itself:
        return False
    return any(leg.needs_teacher for leg in recipe.legs(arm))


def example_of(splits: Splits) -> Tensor:
    """Return a few training images."""
    labelled = splits.labelled.plain()
    return labelled.__getitems__(range(min(_EXAMPLE, len(labelled)))).inputs


def _distiller(
    student: nn.Module,
    teacher: Teacher | None,
    terms: Sequence[TermSettings],
    example: Tensor,
    target: Tensor | None,
    ids: Tensor,
    earlier: Objective | None,
) -> Distiller:
    built = [term.build() for term in terms]
    try:
        if earlier is not None:
            follow(earlier, built)
        for term in built:
            if isinstance(term.loss, Loss) and term.loss.needs_ids:
                term.loss.know(ids)
        made = Distiller(student, teacher, built, example=example, example_target=target)
        if earlier is not None:
            hand_on(earlier, made.objective)
        return made
    except BaseException:
        if teacher is not None:
            with suppress(Exception):
                teacher.close()
        raise


def _model(settings: StudentSettings, spec: DataSpec) -> nn.Module:
    name = function_at(settings.model) if is_function(settings.model) else settings.model
    classes, channels, size = spec.num_classes, spec.channels, spec.size
    weights, fresh_head = settings.weights, settings.allow_random_head
    published = settings.pretrained
    if isinstance(settings, TeacherSettings):
        classes = settings.num_classes or classes
        channels = settings.in_channels or channels
        size = settings.size or size
        # A teacher kept by a run still says that its images are those of published weights.
        published = published and weights is None
        weights = weights or settings.start
        fresh_head = fresh_head or (settings.train is not None and settings.weights is None)
    make = partial(
        models.create,
        name,
        num_classes=classes,
        in_channels=channels,
        size=size,
        weights=weights,
        pretrained=published,
        allow_random_head=fresh_head,
        **settings.options,
    )
    return make() if isinstance(name, str) else run_function(settings.model, make)


def wanted_by(settings: TeacherSettings, model: nn.Module) -> InputSpec | None:
    """Return the images that the teacher expects, or ``None`` if nobody has said."""
    # What a model says of itself belongs to its published weights, and only to those.
    published = settings.pretrained
    return settings.stated_inputs() or (input_spec_of(model) if published else None)


def _seeded(seed: int, make: Callable[[], Made]) -> Made:
    """Return ``make()`` run under ``seed``; the caller's random state comes back."""
    with forked():
        seed_everything(seed)
        return make()
