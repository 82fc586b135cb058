"""What can be wrong with a recipe whose sections are right one by one."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tutelage.errors import TutelageError
from tutelage.recipes import options
from tutelage.recipes.source import Fault, Path, shown
from tutelage.recipes.stages import StageSettings, settings_with
from tutelage.recipes.terms import TermSettings

if TYPE_CHECKING:  # which looks for its faults here
    from tutelage.recipes.parts import TeacherSettings
    from tutelage.recipes.schema import ArmSettings, Recipe


def faults_of(recipe: "Recipe") -> Iterator[Fault]:
    """Yield all that does not go together in a recipe."""
    yield from _teacher_faults(recipe)
    has_teacher = recipe.teacher is not None
    yield from _terms_and_stages(recipe, None, (), recipe.terms, recipe.stages, has_teacher)
    yield from _arm_faults(recipe)


def _teacher_faults(recipe: "Recipe") -> Iterator[Fault]:
    teacher = recipe.teacher
    if teacher is None:
        return
    try:
        teacher.stated_inputs()
    except TutelageError as error:
        yield Fault(("teacher",), str(error))
    beginnings = [name for name in ("weights", "start", "pretrained") if getattr(teacher, name)]
    if len(beginnings) > 1:
        found = ", ".join(f"{name}:" for name in beginnings)
        message = f"expected one beginning of its weights, found {found}; keep one of them"
        yield Fault(("teacher", beginnings[0]), message)
    if teacher.start is not None and teacher.train is None:
        yield Fault(
            ("teacher", "start"),
            "these weights are to be trained further, and nothing says how; add train: {...}, or "
            "give the file as weights: to take it as it is",
            shown(teacher.start),
        )
    elif teacher.is_only_cached:
        yield from _cache_faults(teacher)
    elif not (teacher.weights or teacher.pretrained or teacher.train):
        yield Fault(
            ("teacher",),
            "this teacher would be random; give weights: FILE, pretrained: true, or train: {...}",
        )


def _cache_faults(teacher: "TeacherSettings") -> Iterator[Fault]:
    """Yield what a teacher without a model cannot do."""
    if teacher.cache is None:
        yield Fault(("teacher", "model"), "expected cache: FOLDER beside it, found none; add it")
    elif teacher.cache.on_miss == "teacher":
        message = "there is no model to ask; name one beside cache:, or write on_miss: error"
        yield Fault(("teacher", "cache", "on_miss"), message)
    for key in ("train", "weights", "pretrained"):
        if getattr(teacher, key):
            yield Fault(("teacher", key), "is of a model, and there is none; add teacher.model")


def _terms_and_stages(
    recipe: "Recipe",
    arm: "ArmSettings | None",
    path: Path,
    terms: tuple[TermSettings, ...] | None,
    stages: tuple[StageSettings, ...] | None,
    has_teacher: bool,
) -> Iterator[Fault]:
    """Yield the faults of what a recipe, or an arm at ``path``, writes itself."""
    asks_recipe = arm is None or not arm.teaches_itself
    if terms is not None:
        here = (*path, "terms")
        yield from _term_faults(terms, here, has_teacher=has_teacher)
        if asks_recipe:
            yield from _head_faults(recipe, terms, here)
    try:
        base = recipe.training if arm is None else recipe.training_of(arm)
    except ValidationError:  # said at the arm
        base = recipe.training
    names = [stage.name for stage in stages or ()]
    for position, stage in enumerate(stages or ()):
        here = (*path, "stages", position)
        if names.index(stage.name) < position:
            message = f"two stages are called {stage.name!r}; give each a name of its own"
            yield Fault((*here, "name"), message, shown(stage.name))
        yield from _term_faults(stage.terms, (*here, "terms"), has_teacher=has_teacher)
        if asks_recipe:
            yield from _head_faults(recipe, stage.terms, (*here, "terms"))
        if "selection" in stage.training:
            yield Fault(
                (*here, "training", "selection"),
                "a stage hands on its last student; leave this out",
                shown(stage.training["selection"]),
            )
        changes = {**stage.training, "selection": "last"}
        yield from _training_faults(lambda new=changes: settings_with(base, new), here)


def _training_faults(make: Any, here: Path) -> Iterator[Fault]:
    try:
        make()
    except ValidationError as error:
        for detail in error.errors():
            place = (*here, "training", *detail["loc"])
            yield Fault(place, options.expected(detail["msg"]), shown(detail["input"]))


def _term_faults(
    terms: tuple[TermSettings, ...], path: Path, *, has_teacher: bool
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


def _head_faults(recipe: "Recipe", terms: tuple[TermSettings, ...], path: Path) -> Iterator[Fault]:
    """Yield the terms that would learn from logits of a classifier that nothing has trained."""
    teacher = recipe.teacher
    if teacher is None or not teacher.allow_random_head or teacher.train is not None:
        return
    for position, term in enumerate(terms):
        if not term.loss_class.needs_teacher:
            continue
        if term.at is None or any(theirs is None for _, theirs in term.at):
            yield Fault(
                (*path, position, "loss"),
                "this loss learns from the teacher's logits, and teacher.allow_random_head lets "
                "them come from a classifier that nothing has trained; leave it out if the "
                "classifier fits, or fine-tune the teacher: start: FILE and train: {...}",
                shown(term.loss),
            )


def _arm_faults(recipe: "Recipe") -> Iterator[Fault]:
    if recipe.compare is None:
        return
    arms, path = recipe.compare.arms, ("compare", "arms")
    baselines = [arm.name for arm in arms if arm.role == "baseline"]
    if len(baselines) != 1:
        found = ", ".join(baselines) or "none"
        yield Fault(path, f"expected exactly one arm with role: baseline, found {found}")
    names = [arm.name for arm in arms]
    for name, count in Counter(names).items():
        if count > 1:
            yield Fault(path, f"{count} arms are called {name!r}; give each a name of its own")
    for position, arm in enumerate(arms):
        here = (*path, position)
        has_teacher = recipe.teacher is not None or arm.teaches_itself
        yield from _terms_and_stages(recipe, arm, here, arm.terms, arm.stages, has_teacher)
        yield from _training_faults(lambda arm=arm: recipe.training_of(arm), here)
        for stage in recipe.stages_of(arm):
            if f"{arm.name}/{stage.name}" in names:
                message = f"an arm is called {arm.name}/{stage.name} as well; rename one of them"
                yield Fault((*here, "name"), message, shown(arm.name))
    if not recipe.seeds or len(set(recipe.seeds)) != len(recipe.seeds):
        yield Fault(("compare", "seeds"), "expected at least one seed, and each of them once")
