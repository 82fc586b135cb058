"""The recipe: everything that decides a distillation, as one frozen tree."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    Tag,
    ValidationError,
    model_validator,
)

from tutelage import runs
from tutelage.errors import TutelageError
from tutelage.recipes import options
from tutelage.recipes.parts import DataSettings, StudentSettings, TeacherSettings
from tutelage.recipes.presets import check_preset, with_preset
from tutelage.recipes.reuse import ReuseSettings
from tutelage.recipes.section import Section, as_error
from tutelage.recipes.source import Fault, shown
from tutelage.recipes.terms import TermSettings
from tutelage.training.settings import TrainingSettings

if TYPE_CHECKING:  # built from a recipe, so it comes after this file
    from tutelage.recipes.build import Pieces

Seed = Annotated[int, Field(ge=0, lt=2**32)]
_MOST_SEEDS = 1000  # "seeds: 20260101" is a seed meant, not twenty million runs
_MOST_THREADS = 1024  # far more than this crash the thread pools below torch

Role = Literal["baseline", "control", "method"]


class ArmSettings(Section):
    """One way to train the student, beside others.

    Args:
        name: Its name in the table.
        preset: A published recipe by name (``function-matching``, ``usi``), which gives terms and
            training settings where none are written.
        role: ``baseline`` is the student alone, against which differences are taken; a
            ``control`` shows what a gain would look like without the teacher's knowledge.
        terms: What it trains on; default: the recipe's terms.
        teacher: ``own`` is the recipe's. ``shuffled`` gives each sample its answer to another
            one. ``itself`` is the student's own forward pass: early exits learn from the last,
            members of a cohort from each other. ``ema`` is the mean of the student's past weights.
        student: The student, where it is another than the recipe's.
        reuse_head: Put the teacher's classifier behind the student, which is then trained and
            judged through it; the terms find the projected map at the layer ``projector``.
        training: Settings that differ from the recipe's.
    """

    name: str = Field(min_length=1)
    preset: Annotated[str | None, AfterValidator(check_preset)] = None
    role: Role = "method"
    terms: tuple[TermSettings, ...] | None = None
    teacher: Literal["own", "shuffled", "itself", "ema"] = "own"
    student: StudentSettings | None = None
    reuse_head: ReuseSettings | None = None
    training: dict[str, Any] = Field(default_factory=dict)

    _preset = model_validator(mode="before")(with_preset)

    @property
    def teaches_itself(self) -> bool:
        """Whether it learns from its own student, and from no other model."""
        return self.teacher in ("itself", "ema")


class CompareSettings(Section):
    """What ``tutelage compare`` trains.

    Args:
        seeds: How many paired seeds, or which.
        arms: The arms; exactly one is the baseline.
    """

    seeds: Annotated[
        Annotated[int, Field(ge=1, le=_MOST_SEEDS), Tag("count")]
        | Annotated[tuple[Seed, ...], Tag("list")],
        Discriminator(lambda value: "list" if isinstance(value, list | tuple) else "count"),
    ] = 5
    arms: tuple[ArmSettings, ...]


class Recipe(Section):
    """A whole distillation; ``tutelage distill`` runs it, ``tutelage compare`` its arms.

    Args:
        name: Default name of its run folders.
        description: One sentence for lists and reports.
        data: The data set.
        student: The model to train.
        teacher: The model to learn from; ``None`` where no term needs one.
        preset: A published recipe by name, which gives terms and training settings where none are
            written.
        terms: What the student is trained on.
        training: How it is trained.
        compare: The arms of ``tutelage compare``.
        seed: Seed of everything random; the data are split by it.
        threads: CPU threads of torch; default: as many as torch takes. Small models are fastest
            with 1: more threads mostly wait for each other.
    """

    name: Annotated[str, AfterValidator(runs.check_name)]
    description: str = ""
    data: DataSettings
    student: StudentSettings
    teacher: TeacherSettings | None = None
    preset: Annotated[str | None, AfterValidator(check_preset)] = None
    terms: tuple[TermSettings, ...]
    training: TrainingSettings
    compare: CompareSettings | None = None
    seed: Seed = 0
    threads: int | None = Field(None, ge=1, le=_MOST_THREADS)

    _preset = model_validator(mode="before")(with_preset)

    @model_validator(mode="wrap")
    @classmethod
    def _check_together(cls, data: Any, handler: ModelWrapValidatorHandler["Recipe"]) -> "Recipe":
        recipe = handler(data)
        faults = [*_teacher_faults(recipe), *_term_faults(recipe), *_arm_faults(recipe)]
        if faults:
            raise as_error(cls.__name__, faults)
        return recipe

    @property
    def seeds(self) -> tuple[int, ...]:
        """The paired seeds of the comparison."""
        wanted = self.compare.seeds if self.compare else 1
        return tuple(range(wanted)) if isinstance(wanted, int) else wanted

    def training_of(self, arm: ArmSettings) -> TrainingSettings:
        """Return the training settings of an arm."""
        if not arm.training:
            return self.training
        return TrainingSettings.model_validate(self.training.model_dump() | arm.training)

    def student_of(self, arm: ArmSettings | None) -> StudentSettings:
        """Return the student of an arm."""
        return self.student if arm is None or arm.student is None else arm.student

    def terms_of(self, arm: ArmSettings) -> tuple[TermSettings, ...]:
        """Return the terms of an arm."""
        return self.terms if arm.terms is None else arm.terms

    def build(self, *, seed: int | None = None, arm: ArmSettings | None = None) -> "Pieces":
        """Build data, student, teacher and distiller; see :func:`tutelage.recipes.build.build`.

        >>> from tutelage.recipes import load
        >>> alone = load("digits", ["teacher=null", "terms=[{loss: ce}]", "compare=null"])
        >>> alone.build().student.head.out_features
        10
        """
        from tutelage.recipes.build import build

        return build(self, seed=seed, arm=arm)

    def with_teacher_from(self, file: Path) -> "Recipe":
        """Return this recipe with the teacher's weights taken from ``file`` and nowhere else."""
        if self.teacher is None:
            return self
        kept = {"weights": str(file), "pretrained": False, "allow_random_head": False}
        return self.model_copy(update={"teacher": self.teacher.model_copy(update=kept)})

    def without_weights(self) -> "Recipe":
        """Return this recipe with a teacher that is built, but not filled with its weights."""
        if self.teacher is None:
            return self
        bare = self.teacher.model_copy(update={"weights": None, "pretrained": False})
        return self.model_copy(update={"teacher": bare})

    def as_tree(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and scalars from which the same recipe comes back."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the recipe as YAML with its defaults; loading that gives an equal recipe."""
        return yaml.safe_dump(self.as_tree(), sort_keys=False, allow_unicode=True, width=100)


def _term_faults(recipe: Recipe) -> Iterator[Fault]:
    yield from _faults_of(recipe.terms, ("terms",), has_teacher=recipe.teacher is not None)


def _teacher_faults(recipe: Recipe) -> Iterator[Fault]:
    teacher = recipe.teacher
    if teacher is None:
        return
    try:
        teacher.stated_inputs()
    except TutelageError as error:
        yield Fault(("teacher",), str(error))
    if not (teacher.weights or teacher.pretrained or teacher.train):
        yield Fault(
            ("teacher",),
            "this teacher would be random; give weights: FILE, pretrained: true, or train: {...}",
        )


def _faults_of(
    terms: tuple[TermSettings, ...], path: tuple[str | int, ...], *, has_teacher: bool
) -> Iterator[Fault]:
    if not terms:
        yield Fault(path, "expected at least one term, found none; add {loss: ce}")
    elif all(term.weight == 0 for term in terms):
        yield Fault(path, "all weights are 0, so nothing would be trained; raise one above 0")
    names = [term.name or term.loss for term in terms]
    for name, count in Counter(names).items():
        if count > 1:
            message = f"{count} terms are called {name!r}; give each a name: of its own"
            last = len(names) - 1 - names[::-1].index(name)
            yield Fault((*path, last), message)
    for position, term in enumerate(terms):
        if term.loss_class.compares == "features" and term.at is None:
            message = "this loss compares features; say where: [student_layer, teacher_layer]"
            yield Fault((*path, position, "at"), message)
        if term.loss_class.needs_teacher and not has_teacher:
            yield Fault(
                (*path, position, "loss"),
                "this loss needs a teacher, and the recipe has none; add teacher:",
                shown(term.loss),
            )


def _arm_faults(recipe: Recipe) -> Iterator[Fault]:
    if recipe.compare is None:
        return
    arms, path = recipe.compare.arms, ("compare", "arms")
    baselines = [arm.name for arm in arms if arm.role == "baseline"]
    if len(baselines) != 1:
        found = ", ".join(baselines) or "none"
        yield Fault(path, f"expected exactly one arm with role: baseline, found {found}")
    for name, count in Counter(arm.name for arm in arms).items():
        if count > 1:
            yield Fault(path, f"{count} arms are called {name!r}; give each a name of its own")
    for position, arm in enumerate(arms):
        here = (*path, position)
        if arm.terms is not None:
            has_teacher = recipe.teacher is not None or arm.teaches_itself
            yield from _faults_of(arm.terms, (*here, "terms"), has_teacher=has_teacher)
        try:
            recipe.training_of(arm)
        except ValidationError as error:
            for detail in error.errors():
                place = (*here, "training", *detail["loc"])
                yield Fault(place, options.expected(detail["msg"]), shown(detail["input"]))
    if not recipe.seeds or len(set(recipe.seeds)) != len(recipe.seeds):
        yield Fault(("compare", "seeds"), "expected at least one seed, and each of them once")
