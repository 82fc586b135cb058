"""Look at everything a recipe would run, train nothing, write nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import Batch, Splits, loader
from tutelage.distiller import Distiller
from tutelage.errors import TutelageError
from tutelage.losses import CELoss
from tutelage.recipes.build import (
    build_teacher,
    needs_teacher,
    wanted_by,
)
from tutelage.recipes.chain import Chain
from tutelage.recipes.fitting import build_models, faults_of_fit, layer_faults
from tutelage.recipes.load import examine, read
from tutelage.recipes.lookup import is_complete
from tutelage.recipes.salvage import salvage
from tutelage.recipes.schema import Recipe
from tutelage.recipes.source import Fault, Source
from tutelage.recipes.stages import Leg
from tutelage.recipes.teacher import spread
from tutelage.recipes.terms import ScheduleSettings, TermSettings
from tutelage.recipes.threads import threads
from tutelage.recipes.timing import seconds_of
from tutelage.signals import OUTPUT, Signals, item_of
from tutelage.taps import Taps
from tutelage.teachers import chance_report
from tutelage.training import evaluate, open_ranks, unreached

_SAMPLE = 512  # images on which the teacher is asked

Line = tuple[str, str]


def check(origin: str | Source, changes: Iterable[str] = ()) -> Iterator[Line]:
    """Yield what a recipe would run, as pairs of a heading and a sentence.

    Args:
        origin: See :func:`tutelage.recipes.load`; or what was read there.
        changes: Overrides.

    Raises:
        RecipeError: With all faults of the recipe at once, those of layers and arms among them.
        TutelageError: If the data, or one of the models, cannot be built.
    """
    source = origin if isinstance(origin, Source) else read(origin, changes)
    recipe, written = examine(source)
    if recipe is None or written:
        raise source.error([*written, *_faults_of_layers(source)])
    with threads(recipe.threads), open_ranks(recipe.training.device) as ranks:
        splits, student, teacher = build_models(recipe, source)
        faults = faults_of_fit(recipe, splits, student, teacher)
        if faults:
            raise source.error(faults)
        yield "recipe", f"{recipe.name}: {recipe.description}".rstrip(": ")
        yield from _data_lines(splits)
        yield from _model_lines(recipe, student, teacher)
        yield from _input_lines(recipe, splits, teacher)
        if teacher is not None:
            teacher.to(ranks.device)
        with Chain(recipe, splits, teacher, seed=recipe.seed, device=ranks.device) as chain:
            batch = _batch(splits, recipe.training.batch_size).to(ranks.device)
            while not chain.is_last:
                yield _stage_line(chain, batch)
                yield from _signal_lines(chain.leg, chain.distiller, batch, splits.spec.num_classes)
                chain.advance()
            yield from _signal_lines(chain.leg, chain.distiller, batch, splits.spec.num_classes)
            yield from _arm_lines(recipe)
            yield from _cost_lines(chain.distiller, batch, ranks.device)
            yield from _teacher_lines(recipe, teacher, splits, ranks.device)
    yield "result", "fit to run; nothing was trained, nothing was written"


def _faults_of_layers(source: Source) -> list[Fault]:
    """Return the layers that do not exist in a recipe that has other faults too."""
    recipe = salvage(source.tree)
    if recipe is None:
        return []
    try:
        _, student, teacher = build_models(recipe.without_weights(), source)
    except TutelageError:  # nothing to look into, and the other faults come first
        return []
    return list(layer_faults(recipe, student, teacher))


def _data_lines(splits: Splits) -> Iterator[Line]:
    spec = splits.spec
    yield (
        "data",
        f"{spec.name}: {len(splits.train)} training images, {len(splits.labelled)} of them "
        f"labelled for the student; {len(splits.validation)} validation, {len(splits.test)} test",
    )
    counts = torch.bincount(splits.labelled.targets, minlength=spec.num_classes)
    yield (
        "classes",
        f"{spec.num_classes}; {int(counts.min())} to {int(counts.max())} labelled images of each",
    )


def _model_lines(recipe: Recipe, student: nn.Module, teacher: nn.Module | None) -> Iterator[Line]:
    yield "student", f"{recipe.student.model}: {_count(student):,} parameters"
    settings = recipe.teacher
    if settings is not None and settings.cache is not None:
        state = "read from" if is_complete(settings) else "kept by the first run in"
        yield "answers", f"{state} {settings.cache.path}"
    if teacher is None or recipe.teacher is None:
        yield "teacher", "none" if settings is None else "only its answers"
        return
    ratio = _count(teacher) / max(1, _count(student))
    yield (
        "teacher",
        f"{recipe.teacher.model}: {_count(teacher):,} parameters, {ratio:.1f} times the student's",
    )


def _input_lines(recipe: Recipe, splits: Splits, teacher: nn.Module | None) -> Iterator[Line]:
    spec = splits.spec
    shape = f"{spec.channels}x{spec.size[0]}x{spec.size[1]}"
    statistics = f"mean {_numbers(spec.mean)}, std {_numbers(spec.std)}"
    yield "student in", f"{shape}, {statistics}"
    if teacher is None or recipe.teacher is None:
        return
    wanted = wanted_by(recipe.teacher, teacher)
    if wanted is None:
        yield (
            "teacher in",
            "the same images: the recipe states no mean, std or size for the teacher",
        )
        return
    size = wanted.size or spec.size
    mean, std = wanted.mean or spec.mean, wanted.std or spec.std
    yield (
        "teacher in",
        f"{wanted.channels or spec.channels}x{size[0]}x{size[1]}, mean {_numbers(mean)}, "
        f"std {_numbers(std)}; converted from the student's",
    )


def _stage_line(chain: Chain, batch: Batch) -> Line:
    """Say how long a stage is and how much of the student it moves."""
    leg, student = chain.leg, chain.distiller.student
    total = sum(p.numel() for p in student.parameters() if p.requires_grad)
    resting = 0
    if not chain.distiller.objective.trains_logits:
        resting = sum(p.numel() for p in unreached(chain.distiller, batch).parameters.values())
    return (
        f"stage {leg.name}",
        f"{leg.length} first, with {total - resting:,} of the student's {total:,} parameters "
        "moving",
    )


def _arm_lines(recipe: Recipe) -> Iterator[Line]:
    """Say which arms have stages of their own."""
    for arm in recipe.compare.arms if recipe.compare else ():
        earlier = [leg for leg in recipe.legs(arm) if leg.name is not None]
        if arm.stages and earlier:
            words = ", ".join(f"{leg.name} ({leg.length})" for leg in earlier)
            yield f"arm {arm.name}", f"in stages: first {words}, then its own terms"


def _signal_lines(leg: Leg, distiller: Distiller, batch: Batch, classes: int) -> Iterator[Line]:
    distiller.eval()
    with torch.no_grad():
        step = distiller(batch.inputs, batch.target, batch.ids)
        teacher = distiller.teacher(batch.inputs, batch.ids) if distiller.teacher else None
    student = _student_taps(distiller, leg, batch.inputs)
    counts = f"data {classes}, student {step.logits.shape[-1]}"
    if teacher is not None and teacher.logits is not None:
        counts += f", teacher {teacher.logits.shape[-1]}"
    if leg.name is None:
        yield "logits", counts
    for term in leg.terms:
        yield f"term {term.name or term.loss}", _term_words(term, student, teacher, step.parts)
    distiller.train()


def _student_taps(distiller: Distiller, leg: Leg, inputs: Tensor) -> dict[str, Tensor]:
    places = [place for term in leg.terms for place in term.at or ()]
    names = list(dict.fromkeys(layer for layer, _ in places if layer is not None))
    layers = [name for name in names if not name.startswith(OUTPUT)]
    with torch.no_grad(), Taps(distiller.student, layers) as taps:
        output = distiller.student(inputs)
        return taps.read() | {name: item_of(output, name) for name in names if name not in layers}


def _term_words(
    term: TermSettings,
    student: dict[str, Tensor],
    teacher: Signals | None,
    parts: Any,
) -> str:
    name = term.name or term.loss
    weight = term.weight.type if isinstance(term.weight, ScheduleSettings) else f"{term.weight:g}"
    words = f"weight {weight}, now {float(parts[name]):.4g}"
    taps = teacher.taps if teacher is not None else {}
    for mine, other in term.at or ():
        words += f"; student {_shaped(mine, student)}"
        if other is None or other in taps:
            words += f" -> teacher {_shaped(other, taps)}"
    vias = term.via if isinstance(term.via, tuple) else (term.via,) if term.via else ()
    return words + (f" via {', '.join(via.type for via in vias)}" if vias else "")


def _shaped(layer: str | None, taps: Mapping[str, Tensor]) -> str:
    return "logits" if layer is None else f"{layer} {list(taps[layer].shape)}"


def _cost_lines(distiller: Distiller, batch: Batch, device: torch.device) -> Iterator[Line]:
    if distiller.teacher is None:
        return
    alone = Distiller(distiller.student, None, [CELoss()])

    def step(module: Distiller) -> Callable[[], None]:
        def run() -> None:
            module(batch.inputs, batch.target, batch.ids).loss.backward()
            module.zero_grad(set_to_none=True)

        return run

    plain, whole = seconds_of(step(alone), step(distiller), device=device)
    alone.close()
    yield (
        "cost",
        f"a step with the teacher takes {whole / plain:.2f} times one without "
        f"({1000 * whole:.1f} ms against {1000 * plain:.1f} ms, batch of {len(batch)})",
    )


def _teacher_lines(
    recipe: Recipe, teacher: nn.Module | None, splits: Splits, device: torch.device
) -> Iterator[Line]:
    if recipe.teacher is None or teacher is None or not needs_teacher(recipe):
        return
    if recipe.teacher.train is not None and recipe.teacher.weights is None:
        yield "knows", "the teacher is trained first, so its accuracy is not known yet"
        return
    with build_teacher(recipe, teacher, splits.spec).to(device) as frozen:
        found = evaluate(frozen, spread(splits.validation, _SAMPLE), device=device)
    yield "knows", f"the teacher is right on {found.accuracy:.1%} of {found.n} validation images"
    warning = chance_report(found.accuracy, num_classes=splits.spec.num_classes, n=found.n)
    if warning:
        yield "warning", warning


def _batch(splits: Splits, size: int) -> Batch:
    data = splits.labelled
    return next(iter(loader(data, min(size, len(data)), seed=0, epoch=0)))


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _numbers(values: Iterable[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
