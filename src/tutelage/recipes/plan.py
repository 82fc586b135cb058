"""What a teacher costs, live and from a cache, before either is paid for."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from tutelage.cache import Layout, TapSpec
from tutelage.data import Batch, Splits, loader
from tutelage.distiller import Distiller
from tutelage.errors import RecipeError
from tutelage.losses import CELoss
from tutelage.recipes.build import build_distiller
from tutelage.recipes.fitting import build_models, faults_of_fit
from tutelage.recipes.load import examine, read
from tutelage.recipes.schema import Recipe
from tutelage.recipes.threads import threads
from tutelage.recipes.timing import seconds_of
from tutelage.signals import Signals
from tutelage.training import open_ranks

Line = tuple[str, str]

_BATCHES = 4  # from which the seconds of loading one are taken


@dataclass(frozen=True)
class Costs:
    """Seconds for one batch of the student's training.

    Args:
        batch: Images in it.
        teacher: The teacher's forward pass.
        student: A step of the student alone: forward, loss on the labels, backward.
        terms: What the distillation terms and their projectors add to that.
        data: Reading and augmenting the images, in one process.
        workers: Processes that do so beside the training; 0 is the training's own.
    """

    batch: int
    teacher: float
    student: float
    terms: float
    data: float
    workers: int

    @property
    def loading(self) -> float:
        """Seconds of loading that a step has to wait for at least, where workers share it."""
        return self.data / max(1, self.workers)

    def step(self, *, live: bool) -> float:
        """Return the seconds of a distillation step, with its teacher live or read back."""
        computing = self.student + self.terms + (self.teacher if live else 0.0)
        if self.workers == 0:
            return computing + self.data
        return max(computing, self.loading)

    @property
    def plain(self) -> float:
        """Seconds of a step of the student alone."""
        alone = self.student + (self.data if self.workers == 0 else 0.0)
        return max(alone, self.loading)

    def bottleneck(self, *, live: bool) -> tuple[str, float]:
        """Return what takes the largest part of a step, and that part of it."""
        parts = {
            "the student": self.student,
            "the distillation terms": self.terms,
            "loading images": self.loading,
        }
        if live:
            parts["the teacher"] = self.teacher
        name = max(parts, key=parts.__getitem__)
        return name, min(1.0, parts[name] / self.step(live=live))


def plan(
    origin: str,
    changes: Iterable[str] = (),
    *,
    views: int | None = None,
    top_k: int | None = None,
    students: int = 1,
) -> Iterator[Line]:
    """Measure a few steps of a recipe and yield what follows, as pairs of heading and sentence.

    Args:
        origin: See :func:`tutelage.recipes.load`.
        changes: Overrides.
        views: Random versions of each image that a cache would hold; default: those of
            ``training.views``, or one for each epoch.
        top_k: Classes that it would keep of each row; default: all.
        students: How many trainings would read it.

    Raises:
        TutelageError: If the recipe, its data or one of its models cannot be used.
    """
    source = read(origin, changes)
    recipe, written = examine(source)
    if recipe is None or written:
        raise source.error(written)
    if recipe.teacher is None or recipe.teacher.is_only_cached:
        raise RecipeError(
            f"recipe {recipe.name}: expected a teacher whose cost to measure, found "
            f"{'none' if recipe.teacher is None else 'only its cache'}; give teacher.model"
        )
    recipe = recipe.without_weights().with_cache(None)
    with threads(recipe.threads), open_ranks(recipe.training.device) as ranks:
        splits, student, teacher = build_models(recipe, source)
        faults = faults_of_fit(recipe, splits, student, teacher)
        if faults:
            raise source.error(faults)
        assert teacher is not None
        with build_distiller(
            recipe, splits, teacher.to(ranks.device), seed=recipe.seed, device=ranks.device
        ) as distiller:
            costs, signals = _measure(recipe, splits, distiller, ranks.device)
    epochs = _epochs(recipe, splits)
    kept = min(views or recipe.training.views or epochs, epochs)
    yield from _step_lines(recipe, costs)
    yield from _size_lines(signals, len(splits.train), views=kept, top_k=top_k)
    yield from _pay_lines(costs, splits, views=kept, epochs=epochs, students=students)


def _measure(
    recipe: Recipe, splits: Splits, distiller: Distiller, device: torch.device
) -> tuple[Costs, Signals]:
    size = min(recipe.training.batch_size, len(splits.labelled))
    batch = next(iter(loader(splits.labelled, size, seed=0, epoch=0))).to(device)
    alone = Distiller(distiller.student, None, [CELoss()])
    teacher = distiller.teacher
    assert teacher is not None

    def step(module: Distiller) -> Callable[[], None]:
        def run() -> None:
            module(batch.inputs, batch.target, batch.ids).loss.backward()
            module.zero_grad(set_to_none=True)

        return run

    plain, whole, asked, loaded = seconds_of(
        step(alone),
        step(distiller),
        lambda: teacher(batch.inputs, batch.ids),
        _loading(splits, size),
        device=device,
    )
    alone.close()
    costs = Costs(
        batch=size,
        teacher=asked,
        student=plain,
        terms=max(0.0, whole - plain - asked),
        data=loaded,
        workers=recipe.training.workers,
    )
    return costs, teacher(batch.inputs, batch.ids)


def _loading(splits: Splits, size: int) -> Callable[[], Batch]:
    """Return a function that reads one batch more, of images that were not just read."""
    turn = iter(range(1_000_000))

    def read_one() -> Batch:
        epoch = next(turn) // _BATCHES
        return next(iter(loader(splits.labelled, size, seed=next(turn), epoch=epoch)))

    return read_one


def _epochs(recipe: Recipe, splits: Splits) -> int:
    size = recipe.training.batch_size
    steps_per_epoch = max(1, -(-len(splits.labelled) // size))
    return max(1, -(-recipe.training.total_steps(steps_per_epoch) // steps_per_epoch))


def _step_lines(recipe: Recipe, costs: Costs) -> Iterator[Line]:
    def ms(seconds: float) -> str:
        return f"{1000 * seconds:.1f} ms"

    yield (
        "a batch",
        f"{costs.batch} images: student {ms(costs.student)}, teacher {ms(costs.teacher)}, "
        f"terms {ms(costs.terms)}, data {ms(costs.data)} in one process "
        f"(training.workers={costs.workers})",
    )
    live, cached = costs.step(live=True), costs.step(live=False)
    yield "live", f"a step takes {live / costs.plain:.2f} times one of the student alone"
    yield "cached", f"it would take {cached / costs.plain:.2f} times that, without the teacher"
    for name, is_live in (("live", True), ("cached", False)):
        what, share = costs.bottleneck(live=is_live)
        yield "bottleneck", f"{name}: {what}, {share:.0%} of a step"


def _size_lines(signals: Signals, count: int, *, views: int, top_k: int | None) -> Iterator[Line]:
    logits = signals.logits
    assert isinstance(logits, torch.Tensor)
    taps = tuple(TapSpec(name, tuple(tap.shape[1:])) for name, tap in signals.taps.items())
    classes = logits.shape[-1]
    layouts = [
        Layout(num_classes=classes, taps=taps, views=views, dtype=dtype)
        for dtype in ("fp16", "fp32")
    ]
    if top_k is not None and top_k < classes:
        layouts.insert(0, Layout(num_classes=classes, taps=taps, views=views, top_k=top_k))
    inner = f" with {len(taps)} layers" if taps else ""
    for layout in layouts:
        kept = "all classes" if layout.kept is None else f"top {layout.kept} of {classes}"
        row = layout.row_bytes
        yield (
            "size",
            f"{kept}{inner}, {layout.dtype}: {row:,} bytes a view, {_bytes(row * count * views)} "
            f"for {count:,} images x {views} views",
        )


def _pay_lines(
    costs: Costs, splits: Splits, *, views: int, epochs: int, students: int
) -> Iterator[Line]:
    """Yield how long building takes and from when on the cache is cheaper than the teacher."""
    asked = len(splits.train) * views / costs.batch
    build = asked * (costs.teacher + costs.loading)
    steps = len(splits.labelled) / costs.batch * epochs
    live, cached = steps * costs.step(live=True), steps * costs.step(live=False)
    yield "build", f"{_time(build)} once, for {len(splits.train):,} images x {views} views"
    yield (
        "training",
        f"{epochs} epochs: {_time(steps * costs.plain)} for the student alone, {_time(live)} with "
        f"the live teacher, {_time(cached)} from the cache",
    )
    saved = live - cached
    if saved <= 0:
        yield "pays", "never: the teacher costs nothing that a cache could save"
        return
    needed = build / saved
    per_epoch = saved / epochs
    yield (
        "pays",
        f"after {build / per_epoch:.1f} epochs of training, that is {needed:.2f} students of "
        f"{epochs} epochs; {students} of them take {_time(build + students * cached)} with the "
        f"cache against {_time(students * live)} without",
    )
    if views < epochs:
        yield "views", f"each image is seen in {views} versions in turn; live, in {epochs}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bytes(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
