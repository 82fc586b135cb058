"""Our step beside those of timm, torchdistill and fasterai: B1, B3 and peak memory, in one run."""

import argparse
import copy
import statistics
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from harness import Lines, interleaved, ratio
from memory import allocated
from peer_steps import PEERS, Peer
from step import hand_step, our_step
from torch import Tensor, nn

from tutelage.errors import TutelageError

NAMES = ("timm", "torchdistill", "fasterai", "fastai")
TARGETS = {("ours", "hand"): ("B1", 1.02), ("ours", "fasterai"): ("B3", 0.52)}
BESIDE = [  # what is divided by what
    ("ours", "hand"),
    ("ours", "timm"),
    ("ours", "torchdistill"),
    ("ours", "fasterai"),
    ("ours in timm", "timm"),
    ("ours in fastai", "fasterai"),
]
Step = Callable[[], Tensor]
FROM = "pip install -r benchmarks/requirements-peers.txt"


def models(classes: int) -> tuple[nn.Module, nn.Module]:
    """ResNet18 and ResNet50: timm's, since its tasks take no others."""
    try:
        from timm import create_model

        return create_model("resnet18", num_classes=classes), create_model(
            "resnet50", num_classes=classes
        )
    except (ImportError, RuntimeError, OSError):
        from torchvision.models import resnet18, resnet50

        return resnet18(num_classes=classes), resnet50(num_classes=classes)


def variants(
    lines: Lines, x: Tensor, y: Tensor, classes: int
) -> tuple[dict[str, Peer], dict[str, nn.Module]]:
    """Return a step of each, and its student, from one pair of models; say which are missing."""
    student, teacher = models(classes)
    makers: dict[str, Callable[..., Peer]] = {
        "hand": lambda *given: Peer(hand_step(*given)),
        "ours": lambda *given: Peer(our_step(*given)),
        "hand again": lambda *given: Peer(hand_step(*given)),
        **PEERS,
    }
    made: dict[str, Peer] = {}
    students = {name: copy.deepcopy(student) for name in makers}
    for name, maker in makers.items():
        try:
            made[name] = maker(students[name], copy.deepcopy(teacher), x, y)
        except (ImportError, RuntimeError, OSError, TutelageError) as error:
            if name not in PEERS:
                raise
            lines.missing(name, f"{error}; {FROM}")
    return made, students


def inside(around: list[Callable[[Callable[[], None]], None]], run: Callable[[], None]) -> None:
    """Call ``run`` inside of all that has to be open around it."""
    if around:
        around[0](lambda: inside(around[1:], run))
    else:
        run()


def agree(lines: Lines, steps: dict[str, Step]) -> dict[str, Step]:
    """Leave out what does not compute the same: its time would say nothing."""
    expected = float(steps["hand"]())
    kept = {"hand": steps["hand"]}
    for name, step in steps.items():
        if name == "hand":
            continue
        found = float(step())
        if abs(found - expected) <= 1e-4 * abs(expected):
            kept[name] = step
        else:
            lines.wrong(name, f"loss {found:.6f}, the hand loop has {expected:.6f}")
    return kept


def compare_times(lines: Lines, steps: dict[str, Step], rounds: int) -> None:
    """Print the ratios of CPU time: ours to each, and each to the hand loop."""
    seconds = interleaved(steps, rounds=rounds)  # type: ignore[arg-type]
    lines.self_check("hand loop", seconds["hand again"], seconds["hand"])
    for name, each in seconds.items():
        note = f"{1e3 * min(each):.0f} least, {1e3 * statistics.median(each):.0f} median ms"
        lines.inform(f"{name} / hand loop", ratio(each, seconds["hand"]), note)
    for ours, other in BESIDE:
        if ours not in seconds or other not in seconds:
            continue
        value = ratio(seconds[ours], seconds[other])
        label, target = TARGETS.get((ours, other), ("  ", None))
        if target is None:
            lines.inform(f"{label} {ours} / {other}", value)
        else:
            lines.add(f"{label} {ours} / {other}", value, f"<= {target}", value <= target)


def compare_memory(lines: Lines, steps: dict[str, Step], students: dict[str, nn.Module]) -> None:
    """Print the peak that each allocates in a step, against the hand loop."""
    peaks = {}
    for name, step in steps.items():
        # What a step frees of an earlier one would be taken off its own.
        students[name].zero_grad(set_to_none=True)
        peaks[name] = allocated(step, warmup=0).peak
    for name, peak in peaks.items():
        note = f"{peak / 2**20:.0f} MiB"
        lines.inform(f"peak memory of {name} / hand loop", peak / peaks["hand"], note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of the peers' imports
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = Lines("peers")
    lines.content["peers"] = {name: _version(name) for name in NAMES}
    print("  " + ", ".join(f"{name} {found}" for name, found in lines.content["peers"].items()))
    x = torch.randn(arguments.batch, 3, arguments.pixels, arguments.pixels)
    y = torch.randint(100, (arguments.batch,))
    peers, students = variants(lines, x, y, classes=100)

    def measure() -> None:
        steps = agree(lines, {name: peer.step for name, peer in peers.items()})
        compare_times(lines, steps, arguments.rounds)
        compare_memory(lines, steps, students)

    inside([peer.around for peer in peers.values()], measure)
    lines.finish(arguments.json)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
