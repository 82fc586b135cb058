"""Fashion-MNIST from a timm ResNet: plain training, the live teacher, and its cache; with seeds.

Times are CPU seconds of training alone, without evaluation. "Time to accuracy" is how long a cached
student needs to be as good as the plain one at its end, as a share of the plain training's time:
trainings of an eighth, a quarter, a half and all of its length are tried, each with its own
learning-rate schedule, and the first that gets there counts.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from harness import Lines

import tutelage as tl
from tutelage import data, models
from tutelage.data import Splits
from tutelage.training import TrainingSettings, evaluate, fit, label

SHARES = (0.125, 0.25, 0.5, 1.0)


def settings_for(epochs: int, **changes: object) -> TrainingSettings:
    fixed = {
        "batch_size": 64,
        "optimizer": "adamw",
        "lr": 1e-2,
        "weight_decay": 0.01,
        "scheduler": "cosine",
        "validate_every": 10**9,
    }
    return TrainingSettings.model_validate({"epochs": epochs, **fixed, **changes})


def student_for(splits: Splits, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return models.create(
        "small_cnn",
        num_classes=10,
        in_channels=1,
        size=splits.spec.size,
        widths=[8, 16, 32],
    )


def trained_teacher(splits: Splits, epochs: int, asked_of_teacher: int) -> torch.nn.Module:
    torch.manual_seed(0)
    model = models.create("timm/resnet18", num_classes=10, in_channels=1)
    shown = splits.train.subset(range(asked_of_teacher))
    everything = Splits(splits.train, shown, splits.validation, splits.test, splits.spec)
    with tl.Distiller(model, None, [tl.CELoss()]) as distiller:
        fit(distiller, everything, settings_for(epochs, lr=1e-3), seed=0)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--teacher-epochs", type=int, default=1)
    parser.add_argument("--teacher-images", type=int, default=30_000)
    parser.add_argument("--labelled", type=int, default=1000)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--size", type=int, default=28, choices=[7, 14, 28])
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = Lines("end to end")

    # One choice of labelled images for all seeds: the cache holds answers about those alone.
    splits = data.load(
        "fashion-mnist", labelled=asked.labelled, size=asked.size, augment="shift-flip", seed=0
    )
    start = time.perf_counter()
    model = trained_teacher(splits, asked.teacher_epochs, asked.teacher_images)
    teacher = tl.FrozenTeacher(model)
    found = evaluate(teacher, splits.test)
    print(f"  teacher: {found.accuracy:.1%}, {time.perf_counter() - start:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as name:
        made = label(
            teacher, splits.labelled, Path(name) / "cache", views=asked.views, batch_size=64
        )
        print(f"  cache: {made.rows:,} answers in {made.seconds:.1f} s")
        run(lines, splits, teacher, made.path, made.seconds, asked)
    lines.finish(asked.json)


def run(
    lines: Lines,
    splits: Splits,
    teacher: tl.FrozenTeacher,
    path: Path,
    building: float,
    asked: argparse.Namespace,
) -> None:
    terms = [(tl.CELoss, {}, 0.1), (tl.KDLoss, {"temperature": 4.0}, 0.9)]
    few = splits.validation.subset(range(100)), splits.test.subset(range(100))
    unwatched = Splits(splits.train, splits.labelled, *few, splits.spec)
    seconds: dict[str, list[float]] = {}
    right: dict[str, list[float]] = {}

    def training(name: str, source: tl.Teacher | None, epochs: int, seed: int) -> None:
        chosen = (
            [tl.CELoss()]
            if source is None
            else [tl.Term(kind(**options), weight) for kind, options, weight in terms]
        )
        student = student_for(splits, seed)
        views = {} if source is None else {"views": asked.views, "view_seed": 0}
        with tl.Distiller(student, source, chosen) as distiller:
            start = time.process_time()
            fit(distiller, unwatched, settings_for(epochs, **views), seed=seed)
            seconds.setdefault(name, []).append(time.process_time() - start)
        right.setdefault(name, []).append(evaluate(student, splits.test).accuracy)

    for seed in range(asked.seeds):
        # In turns, so that other load hits all alike.
        training("plain", None, asked.epochs, seed)
        training("live", teacher, asked.epochs, seed)
        training("cached", tl.CachedTeacher(path), asked.epochs, seed)
        training("plain again", None, asked.epochs, seed)
        for share in SHARES[:-1]:
            training(f"cached {share}", tl.CachedTeacher(path), round(asked.epochs * share), seed)
        row = ", ".join(f"{name} {right[name][-1]:.1%} {seconds[name][-1]:.1f} s" for name in right)
        print(f"  seed {seed}: {row}", flush=True)
    mean = {name: statistics.mean(values) for name, values in right.items()}
    took = {name: sum(values) for name, values in seconds.items()}
    check = took["plain again"] / took["plain"]
    lines.void |= abs(check - 1) > 0.02
    lines.add("self-check (plain against plain)", check, "1 +- 0.02", abs(check - 1) <= 0.02)
    lines.inform("live / plain", took["live"] / took["plain"], f"accuracy {mean['live']:.1%}")
    value = took["cached"] / took["plain"]
    note = f"accuracy {mean['cached']:.1%}; plain {mean['plain']:.1%}"
    lines.add("cached / plain", value, "<= 1.03", value <= 1.03, note)
    building_share = building / (took["plain"] / asked.seeds)
    lines.inform(
        "building the cache / one plain training", building_share, "once, for all students"
    )
    worst = max(abs(a - b) for a, b in zip(right["live"], right["cached"], strict=True))
    lines.add("largest difference of accuracy, live against cached", worst, "0", worst == 0)
    times = {share: took[name_of(share)] / took["plain"] for share in SHARES}
    reached = [share for share in SHARES if mean[name_of(share)] >= mean["plain"]]
    if reached:
        value = times[reached[0]]
        note = f"{mean[name_of(reached[0])]:.1%} against {mean['plain']:.1%}"
        lines.add(
            "time to the plain student's accuracy / plain", value, "<= 0.5", value <= 0.5, note
        )
    else:
        lines.wrong("time to accuracy", "no cached training became as good as the plain one")


def name_of(share: float) -> str:
    return "cached" if share == 1 else f"cached {share}"


if __name__ == "__main__":
    main()
