"""Distillation from a cache beside training without a teacher: B5 to B10, and B14."""

import argparse
import copy
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from harness import Lines, interleaved, ratio
from torch import Tensor, nn

import tutelage as tl
from tutelage.cache import Layout, Reader, Writer, encode, marks_of
from tutelage.data import DataSpec, TensorImages
from tutelage.signals import Signals
from tutelage.training import label

CLASSES = 1000
POOL = 64  # different images; a cache knows many samples that look like one of them


class Counted(nn.Module):
    """Counts the forwards of a module."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.forwards = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        """Run the module."""
        self.forwards += 1
        return self.inner(x)


def resnets() -> tuple[nn.Module, nn.Module]:
    try:
        from torchvision.models import resnet18, resnet50
    except (ImportError, RuntimeError) as error:
        raise SystemExit(f'needs torchvision: pip install -e ".[vision]" ({error})') from None
    torch.manual_seed(0)
    student, teacher = resnet18(num_classes=CLASSES), resnet50(num_classes=CLASSES)
    with torch.no_grad():  # statistics as of a trained network: without them activations explode
        for _ in range(5):
            teacher.train()(torch.randn(16, 3, 64, 64))
    return student, teacher.eval()


def images_of(count: int, pixels: int) -> TensorImages:
    spec = DataSpec(
        "noise", CLASSES, tuple(map(str, range(CLASSES))), 3, (pixels,) * 2, (0.5,) * 3, (0.25,) * 3
    )
    generator = torch.Generator().manual_seed(0)
    raw = torch.randint(0, 256, (count, 3, pixels, pixels), generator=generator, dtype=torch.uint8)
    return TensorImages(raw, torch.arange(count) % CLASSES, spec)


def written(folder: Path, layout: Layout, marks: Tensor, samples: int) -> Path:
    """Write random answers about ``samples`` samples that look like the marked images in turn."""
    ids = np.arange(samples)
    with Writer.create(folder, layout, ids, {"benchmark": "random answers"}) as writer:
        for part in np.array_split(ids, max(1, samples // 4096)):
            generator = torch.Generator().manual_seed(int(part[0]))
            logits = 3 * torch.randn(len(part), CLASSES, generator=generator)
            columns = encode(layout, Signals(logits), part)
            writer.write(part, 0, columns, marks[part % len(marks)].numpy())
        writer.finish()
    return folder


def step_of(
    student: nn.Module, terms: list[tl.Term], teacher: object, batch: Callable[[], tuple]
) -> Callable[[], Tensor]:
    distiller = tl.Distiller(student, teacher, terms)  # type: ignore[arg-type]
    optimiser = torch.optim.SGD(distiller.parameters(), lr=1e-3, momentum=0.9)

    def step() -> Tensor:
        optimiser.zero_grad()
        x, y, ids = batch()
        loss = distiller(x, y, ids).loss
        loss.backward()
        optimiser.step()
        return loss

    return step


def plain_step(student: nn.Module, batch: Callable[[], tuple]) -> Callable[[], Tensor]:
    optimiser = torch.optim.SGD(student.parameters(), lr=1e-3, momentum=0.9)

    def step() -> Tensor:
        optimiser.zero_grad()
        x, y, _ = batch()
        loss = F.cross_entropy(student(x), y)
        loss.backward()
        optimiser.step()
        return loss

    return step


def draws(pool: Tensor, size: int, samples: int) -> Callable[[], tuple[Tensor, Tensor, Tensor]]:
    """Return a loader of random samples; every variant pays for the same indexing."""
    generator = torch.Generator().manual_seed(1)

    def batch() -> tuple[Tensor, Tensor, Tensor]:
        ids = torch.randint(samples, (size,), generator=generator)
        return pool[ids % len(pool)], ids % CLASSES, ids

    return batch


def bench_steps(lines: Lines, folder: Path, rounds: int, pixels: int, size: int) -> None:
    """B5, B10 and the count of teacher forwards."""
    student, teacher = resnets()
    pool = images_of(POOL, pixels).__getitems__(range(POOL)).inputs
    samples, marks = 20_000, marks_of(pool)
    layouts = {
        "dense": Layout(num_classes=CLASSES, dtype="fp16"),
        "top-10": Layout(num_classes=CLASSES, top_k=10, temperatures=(4.0,)),
    }
    cached = {
        name: tl.CachedTeacher(written(folder / f"{name}-{pixels}", layout, marks, samples))
        for name, layout in layouts.items()
    }
    counted = Counted(teacher)
    terms = lambda: [  # noqa: E731
        tl.Term(tl.CELoss(), 0.1),
        tl.Term(tl.KDLoss(temperature=4.0), 0.9),
    ]
    batch = draws(pool, size, samples)
    variants: dict[str, Callable[[], object]] = {
        "plain": plain_step(copy.deepcopy(student), batch),
        "plain again": plain_step(copy.deepcopy(student), batch),
        **{
            name: step_of(copy.deepcopy(student), terms(), one, batch)
            for name, one in cached.items()
        },
        "live": step_of(copy.deepcopy(student), terms(), tl.FrozenTeacher(counted), batch),
    }
    seconds = interleaved(variants, rounds=rounds)
    place = f"ResNet50 to 18, {pixels} px, b{size}"
    lines.self_check(f"B5 {pixels} px", seconds["plain again"], seconds["plain"])
    plain = statistics.median(seconds["plain"])
    for name in cached:
        value = ratio(seconds[name], seconds["plain"])
        note = f"{1e3 * statistics.median(seconds[name]):.1f} vs {1e3 * plain:.1f} ms"
        lines.add(f"B5 cached step, {name} / plain, {place}", value, "<= 1.03", value <= 1.03, note)
    lines.inform(f"r: live step / plain, {place}", ratio(seconds["live"], seconds["plain"]))
    before = counted.forwards
    for name in cached:
        variants[name]()
    forwards = counted.forwards - before
    lines.add("teacher forwards in cached steps", forwards, "0", forwards == 0)
    x, _, ids = batch()
    reads: dict[str, Callable[[], object]] = {
        name: (lambda one=one: one(x, ids)) for name, one in cached.items()
    }
    reads["marks"] = lambda: marks_of(x)
    look = interleaved(reads, rounds=rounds, inner=20)
    for name in cached:
        value = statistics.median(look[name]) / plain
        note = f"{1e3 * statistics.median(look[name]):.2f} ms, pixels compared included"
        line = f"B10 verified lookup, {name} / step, {place}"
        lines.add(line, value, "<= 0.01", value <= 0.01, note)


def bench_same_views(lines: Lines, folder: Path, rounds: int) -> None:
    """B6: the same steps live and from the cache, to the same loss."""
    student, teacher = resnets()
    data = images_of(128, 64)
    frozen = tl.FrozenTeacher(teacher)
    label(frozen, data, folder / "same", batch_size=16)
    batches = [data.__getitems__(range(i, i + 16)) for i in range(0, 128, 16)]
    terms = [tl.Term(tl.CELoss(), 0.1), tl.Term(tl.KDLoss(temperature=4.0), 0.9)]
    losses: dict[str, list[float]] = {}

    def training(name: str, teacher: object) -> Callable[[], None]:
        def run() -> None:
            torch.manual_seed(0)
            learner = copy.deepcopy(student)
            with tl.Distiller(learner, teacher, copy.deepcopy(terms)) as distiller:  # type: ignore[arg-type]
                optimiser = torch.optim.SGD(distiller.parameters(), lr=1e-2, momentum=0.9)
                found = []
                for batch in batches:
                    optimiser.zero_grad()
                    loss = distiller(*batch).loss
                    loss.backward()
                    optimiser.step()
                    found.append(loss.item())
            losses[name] = found

        return run

    def plain() -> None:
        learner = copy.deepcopy(student)
        optimiser = torch.optim.SGD(learner.parameters(), lr=1e-2, momentum=0.9)
        for batch in batches:
            optimiser.zero_grad()
            F.cross_entropy(learner(batch.inputs), batch.target).backward()
            optimiser.step()

    cached = tl.CachedTeacher(folder / "same")
    variants: dict[str, Callable[[], object]] = {
        "plain": plain,
        "live": training("live", frozen),
        "cached": training("cached", cached),
        "cached again": training("cached again", cached),
    }
    seconds = interleaved(variants, rounds=rounds, warmup=1)
    lines.self_check("B6", seconds["cached again"], seconds["cached"])
    if losses["live"] != losses["cached"]:
        lines.wrong("B6", f"losses differ: {losses['live'][-1]} and {losses['cached'][-1]}")
        return
    r = ratio(seconds["live"], seconds["plain"])
    value = ratio(seconds["cached"], seconds["live"]) * r
    lines.add(
        "B6 cached / live time to the same loss, times r",
        value,
        "<= 1.05",
        value <= 1.05,
        f"r = {r:.2f}; all 8 losses bit-equal, last {losses['live'][-1]:.4f}",
    )


def bench_build(lines: Lines, folder: Path, rounds: int) -> None:
    """B7: a labelling pass beside a bare pass of the teacher."""
    _, teacher = resnets()
    data = images_of(512, 64)
    frozen = tl.FrozenTeacher(teacher)
    turn = iter(range(1000))

    def bare() -> None:
        with torch.no_grad():
            for start in range(0, len(data), 16):
                teacher(data.__getitems__(range(start, start + 16)).inputs)

    def build() -> None:
        label(frozen, data, folder / f"build-{next(turn)}", top_k=10, batch_size=16)

    teacher.eval()
    seconds = interleaved(
        {"bare": bare, "bare again": bare, "build": build}, rounds=rounds, warmup=1
    )
    lines.self_check("B7", seconds["bare again"], seconds["bare"])
    value = ratio(seconds["build"], seconds["bare"])
    note = f"512 images of 64 px, {statistics.median(seconds['bare']):.1f} s bare"
    lines.add("B7 cache build / bare teacher pass", value, "<= 1.05", value <= 1.05, note)


def bench_reads(lines: Lines, folder: Path, rounds: int) -> None:
    """B8, B9 and the memory of a reader."""
    marks = torch.zeros(1, dtype=torch.uint8)
    every = Layout(num_classes=CLASSES, dtype="fp16")
    top = written(folder / "top", Layout(num_classes=CLASSES, top_k=10), marks, 200_000)
    soft = Layout(num_classes=CLASSES, top_k=10, temperatures=(4.0,))
    dense = written(folder / "dense", every, marks, 20_000)
    small = written(folder / "small", every, marks, 500)
    size = _bytes_per_view(top, 200_000)
    lines.add("B8 bytes per view, top-10", size, "<= 52", size <= 52)
    size = _bytes_per_view(written(folder / "soft", soft, marks, 200_000), 200_000)
    lines.inform("B8 the same, exact at temperature 4 too / 52", size / 52, f"{size:.2f} bytes")
    size = _bytes_per_view(dense, 20_000)
    lines.add("B8 bytes per view, 1000 classes in fp16", size, "<= 2016", size <= 2016)
    reader = Reader(top)
    generator = np.random.default_rng(0)
    files = folder / "files"
    files.mkdir()
    for i in range(1000):
        torch.save(torch.randn(CLASSES), files / f"{i}.pt")
    variants: dict[str, Callable[[], object]] = {
        "reader": lambda: reader.read(generator.integers(200_000, size=256)),
        "files": lambda: [
            torch.load(files / f"{i}.pt", weights_only=True)
            for i in generator.integers(1000, size=256)
        ],
    }
    seconds = interleaved(variants, rounds=3 * rounds, inner=3)
    ms = 1e3 * statistics.median(seconds["reader"])
    lines.add("B9 256 random rows, warm (ms)", ms, "<= 0.4", ms <= 0.4)
    times = ratio(seconds["files"], seconds["reader"])
    lines.add("B9 one file per sample / our reader", times, ">= 50", times >= 50)
    own = [_private_memory(path) for path in (small, dense)]
    value = own[1] / own[0]
    note = f"{own[0] / 2**20:.1f} and {own[1] / 2**20:.1f} MiB: 1 and 40 MB, all rows read"
    lines.add("private memory of a reader, large / small", value, "<= 1.05", value <= 1.05, note)


def _bytes_per_view(path: Path, samples: int) -> float:
    return sum(file.stat().st_size for file in path.iterdir()) / samples


def _private_memory(path: Path) -> int:
    """Return the bytes of anonymous memory of a process that has read every row."""
    code = (
        "import sys, re, numpy as np\n"
        "from tutelage.cache import Reader\n"
        "reader = Reader(sys.argv[1])\n"
        "ids = reader.ids\n"
        "for start in range(0, len(ids), 128): reader.read(ids[start:start + 128])\n"
        "status = open('/proc/self/status').read()\n"
        "print(re.search(r'RssAnon:\\s+(\\d+)', status)[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return 1024 * int(done.stdout)


def bench_teachers(lines: Lines, rounds: int) -> None:
    """B14: cheaper live teachers."""
    _, teacher = resnets()
    x = torch.randn(16, 3, 64, 64)
    whole, part, low = (
        tl.FrozenTeacher(copy.deepcopy(teacher), precision=precision)
        for precision in (None, None, "auto")
    )
    for one, taps in ((whole, []), (part, ["layer2"]), (low, [])):
        one.provide(taps)
    hand = copy.deepcopy(teacher).eval()

    def cut_by_hand() -> Tensor:
        with torch.no_grad():
            stem = hand.maxpool(hand.relu(hand.bn1(hand.conv1(x))))
            return hand.layer2(hand.layer1(stem))

    assert torch.equal(part.only_taps(x).taps["layer2"], cut_by_hand())
    variants: dict[str, Callable[[], object]] = {
        "whole": lambda: whole(x),
        "whole again": lambda: whole(x),
        "to layer2": lambda: part.only_taps(x),
        "by hand": cut_by_hand,
        "auto": lambda: low(x),
    }
    seconds = interleaved(variants, rounds=2 * rounds)
    lines.self_check("B14", seconds["whole again"], seconds["whole"])
    value = ratio(seconds["to layer2"], seconds["whole"])
    by_hand = ratio(seconds["by hand"], seconds["whole"])
    note = f"cut by hand {by_hand:.3f}; equal values"
    lines.add(
        "B14 forward up to layer2 / whole, ResNet50 64 px", value, "<= 0.42", value <= 0.42, note
    )
    value = ratio(seconds["auto"], seconds["whole"])
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    bound, note = (0.65, "bf16") if fast else (1.05, "this CPU has no bf16: auto leaves it off")
    lines.add(
        "B14 precision=auto / fp32, ResNet50 64 px", value, f"<= {bound}", value <= bound, note
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--only", action="append", choices=["steps", "same", "build", "reads", "teachers"]
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = Lines("cache")
    only = arguments.only or ["reads", "steps", "same", "build", "teachers"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "reads" in only:
            bench_reads(lines, folder, arguments.rounds)
        if "steps" in only:
            bench_steps(lines, folder, arguments.rounds, 64, 16)
            bench_steps(lines, folder, max(5, arguments.rounds // 2), 128, 8)
        if "same" in only:
            bench_same_views(lines, folder, max(5, arguments.rounds // 2))
        if "build" in only:
            bench_build(lines, folder, max(5, arguments.rounds // 2))
        if "teachers" in only:
            bench_teachers(lines, arguments.rounds)
    lines.finish(arguments.json)


if __name__ == "__main__":
    main()
