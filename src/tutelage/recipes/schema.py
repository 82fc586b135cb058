"""The recipe: everything that decides a distillation, as one frozen tree."""

from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    ModelWrapValidatorHandler,
    Tag,
    model_validator,
)

from tutelage import runs
from tutelage.recipes.cached import CacheSettings
from tutelage.recipes.faults import faults_of
from tutelage.recipes.parts import DataSettings, StudentSettings, TeacherSettings
from tutelage.recipes.presets import check_preset, with_preset
from tutelage.recipes.reuse import ReuseSettings
from tutelage.recipes.section import Section, as_error
from tutelage.recipes.source import Path
from tutelage.recipes.stages import Leg, StageSettings, settings_with
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
        stages: Earlier stages of the same student. Default: the recipe's stages where it takes
            the recipe's terms as well, and none where it has terms of its own.
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
    stages: tuple[StageSettings, ...] | None = None
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
        stages: What it is trained on before, stage by stage.
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
    stages: tuple[StageSettings, ...] = ()
    training: TrainingSettings
    compare: CompareSettings | None = None
    seed: Seed = 0
    threads: int | None = Field(None, ge=1, le=_MOST_THREADS)

    _preset = model_validator(mode="before")(with_preset)

    @model_validator(mode="wrap")
    @classmethod
    def _check_together(cls, data: Any, handler: ModelWrapValidatorHandler["Recipe"]) -> "Recipe":
        recipe = handler(data)
        faults = [*faults_of(recipe)]
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
        return settings_with(self.training, arm.training) if arm.training else self.training

    def student_of(self, arm: ArmSettings | None) -> StudentSettings:
        """Return the student of an arm."""
        return self.student if arm is None or arm.student is None else arm.student

    def terms_of(self, arm: ArmSettings) -> tuple[TermSettings, ...]:
        """Return the terms of an arm."""
        return self.terms if arm.terms is None else arm.terms

    def stages_of(self, arm: ArmSettings | None) -> tuple[StageSettings, ...]:
        """Return the earlier stages of an arm, or of the recipe itself."""
        if arm is None or (arm.stages is None and arm.terms is None):
            return self.stages
        return arm.stages or ()

    def legs(self, arm: ArmSettings | None = None) -> tuple[Leg, ...]:
        """Return all stages of an arm, or of the recipe itself; its own terms come last."""
        here: Path = ()
        if arm is not None and self.compare is not None and arm in self.compare.arms:
            here = ("compare", "arms", self.compare.arms.index(arm))
        training = self.training if arm is None else self.training_of(arm)
        stages = self.stages_of(arm)
        root = () if arm is None or arm.stages is None else here
        earlier = [
            Leg(
                stage.name,
                stage.terms,
                settings_with(training, {**stage.training, "selection": "last"}),
                (*root, "stages", number, "terms"),
            )
            for number, stage in enumerate(stages)
        ]
        terms = self.terms if arm is None else self.terms_of(arm)
        root = () if arm is None or arm.terms is None else here
        return (*earlier, Leg(None, terms, training, (*root, "terms")))

    def build(self, *, seed: int | None = None, arm: ArmSettings | None = None) -> "Pieces":
        """Build data, student, teacher and distiller; see :func:`tutelage.recipes.build.build`.

        >>> from tutelage.recipes import load
        >>> alone = load("digits", ["teacher=null", "terms=[{loss: ce}]", "compare=null"])
        >>> alone.build().student.head.out_features
        10
        """
        from tutelage.recipes.build import build

        return build(self, seed=seed, arm=arm)

    def with_teacher_from(self, file: FilePath) -> "Recipe":
        """Return this recipe with the teacher's weights taken from ``file`` and nowhere else."""
        if self.teacher is None:
            return self
        # `pretrained` stays: it tells which images the published weights were made for.
        kept = {"weights": str(file), "start": None, "allow_random_head": False}
        return self.model_copy(update={"teacher": self.teacher.model_copy(update=kept)})

    def without_weights(self) -> "Recipe":
        """Return this recipe with a teacher that is built, but not filled with its weights."""
        if self.teacher is None:
            return self
        bare = self.teacher.model_copy(update={"weights": None, "start": None, "pretrained": False})
        return self.model_copy(update={"teacher": bare})

    def with_cache(self, path: FilePath | None) -> "Recipe":
        """Return this recipe with the teacher's answers kept in ``path``, or nowhere."""
        if self.teacher is None:
            return self
        cache = None
        if path is not None:
            cache = self.teacher.cache or CacheSettings(path=str(path))
            cache = cache.model_copy(update={"path": str(path)})
        return self.model_copy(update={"teacher": self.teacher.model_copy(update={"cache": cache})})

    def as_tree(self) -> dict[str, Any]:
        """Return plain dictionaries, lists and scalars from which the same recipe comes back."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the recipe as YAML with its defaults; loading that gives an equal recipe."""
        return yaml.safe_dump(self.as_tree(), sort_keys=False, allow_unicode=True, width=100)
