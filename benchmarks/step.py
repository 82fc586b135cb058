"""Our step against a hand-written one: B1 (ResNets), B2 (tiny nets), B4, peak memory."""

import argparse
import copy
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from harness import Lines, interleaved, ratio
from memory import allocated
from torch import Tensor, nn

import tutelage as tl


def plain_step(student: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    optimiser = torch.optim.SGD(student.parameters(), lr=1e-3, momentum=0.9)

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(student(x), y)
        loss.backward()
        optimiser.step()
        return loss

    return step


def hand_step(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    """What a careful practitioner writes: KD + CE, teacher frozen, in eval, under no_grad."""
    teacher.eval().requires_grad_(False)
    optimiser = torch.optim.SGD(student.parameters(), lr=1e-3, momentum=0.9)
    temperature = 4.0

    def step() -> Tensor:
        optimiser.zero_grad()
        with torch.no_grad():
            other = teacher(x)
        logits = student(x)
        kd = F.kl_div(
            F.log_softmax(logits / temperature, -1),
            F.log_softmax(other / temperature, -1),
            reduction="batchmean",
            log_target=True,
        )
        loss = 0.1 * F.cross_entropy(logits, y) + 0.9 * temperature**2 * kd
        loss.backward()
        optimiser.step()
        return loss

    return step


def our_step(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Callable[[], Tensor]:
    distiller = tl.Distiller(
        student,
        tl.FrozenTeacher(teacher),
        [tl.Term(tl.CELoss(), 0.1), tl.Term(tl.KDLoss(temperature=4.0), 0.9)],
    )
    optimiser = torch.optim.SGD(distiller.parameters(), lr=1e-3, momentum=0.9)

    def step() -> Tensor:
        optimiser.zero_grad()
        loss = distiller(x, y).loss
        loss.backward()
        optimiser.step()
        return loss

    return step


def tiny(inputs: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def bench_resnets(lines: Lines, rounds: int) -> None:
    try:
        from torchvision.models import resnet18, resnet50
    except (ImportError, RuntimeError) as error:
        raise SystemExit(
            f'B1 and B4 need torchvision: pip install -e ".[vision]" ({error})'
        ) from None
    torch.manual_seed(0)
    x, y = torch.randn(16, 3, 64, 64), torch.randint(100, (16,))
    student, teacher = resnet18(num_classes=100), resnet50(num_classes=100)

    def fresh() -> tuple[nn.Module, nn.Module]:
        return copy.deepcopy(student), copy.deepcopy(teacher)

    frozen = copy.deepcopy(teacher).eval().requires_grad_(False)

    def teacher_forward() -> None:
        with torch.no_grad():
            frozen(x)

    variants: dict[str, Callable[[], object]] = {
        "hand": hand_step(*fresh(), x, y),
        "ours": our_step(*fresh(), x, y),
        "hand again": hand_step(*fresh(), x, y),
        "plain": plain_step(copy.deepcopy(student), x, y),
        "teacher": teacher_forward,
    }
    loss_hand, loss_ours = variants["hand"](), variants["ours"]()
    assert torch.allclose(loss_hand, loss_ours, rtol=1e-4), (loss_hand, loss_ours)
    seconds = interleaved(variants, rounds=rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    lines.self_check("B1", seconds["hand again"], seconds["hand"])
    b1 = ratio(seconds["ours"], seconds["hand"])
    note = f"{1e3 * median['ours']:.1f} vs {1e3 * median['hand']:.1f} ms"
    lines.add(
        "B1 our step / hand loop, ResNet50 to 18, 64 px, b16", b1, "<= 1.02", b1 <= 1.02, note
    )
    bound = [a + b for a, b in zip(seconds["plain"], seconds["teacher"], strict=True)]
    b4 = ratio(bound, seconds["ours"])
    note = f"plain {1e3 * median['plain']:.1f} + teacher {1e3 * median['teacher']:.1f} ms"
    lines.add("B4 (plain step + teacher forward) / our step", b4, ">= 0.97", b4 >= 0.97, note)
    hand, again, ours = (
        allocated(variants[name], warmup=2).peak for name in ("hand", "hand again", "ours")
    )
    lines.add("memory self-check", again / hand, "1 +- 0.02", abs(again / hand - 1) <= 0.02)
    value = ours / hand
    note = f"{ours / 2**20:.1f} vs {hand / 2**20:.1f} MiB"
    lines.add("peak memory of our step / hand loop", value, "<= 1.02", value <= 1.02, note)


def bench_tiny(lines: Lines, rounds: int) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(32, 64), torch.randint(10, (32,))
    student, teacher = tiny(64, 32), tiny(64, 256)
    variants: dict[str, Callable[[], object]] = {
        "hand": hand_step(copy.deepcopy(student), copy.deepcopy(teacher), x, y),
        "ours": our_step(copy.deepcopy(student), copy.deepcopy(teacher), x, y),
        "hand again": hand_step(copy.deepcopy(student), copy.deepcopy(teacher), x, y),
    }
    seconds = interleaved(variants, rounds=rounds, inner=50, warmup=50)
    lines.self_check("B2", seconds["hand again"], seconds["hand"])
    pairs = zip(seconds["ours"], seconds["hand"], strict=True)
    above = 1e6 * statistics.median(a - b for a, b in pairs)
    median = {name: 1e6 * statistics.median(values) for name, values in seconds.items()}
    note = f"{median['ours']:.0f} vs {median['hand']:.0f} us"
    lines.add("B2 our step above the hand loop, tiny nets (us)", above, "<= 40", above <= 40, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=["tiny", "resnets"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = Lines("step")
    if arguments.only != "resnets":
        bench_tiny(lines, 3 * arguments.rounds)
    if arguments.only != "tiny":
        bench_resnets(lines, arguments.rounds)
    lines.finish(arguments.json)


if __name__ == "__main__":
    main()
