"""Each loss against its naive form: time of forward and backward, and peak memory."""

import argparse
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from harness import Lines, interleaved, ratio
from memory import Allocated, allocated
from naive import TABLE, WITHOUT
from naive.kit import Naive, Pair, Shape, pair

from tutelage.losses import CRDLoss, index

RTOL = 1e-4  # between the values of both forms, in float32
LARGE_VOCABULARY = 32_000  # from where on KD has targets
LONG, FEW = 0.5, 4  # a call of so many seconds is repeated so often
TOO_LONG = 3.0  # seconds from where on nothing is measured against itself
MANY_SAMPLES = 256  # from where on RKD's triplets do not fit into one of its chunks
CRD_SCORES = 3 * 64 * 2**20  # bytes, of its docstring


class Suite:
    """The lines of one run, by loss and shape.

    Args:
        lines: Takes them.
        rounds: How often each time is measured.
        judged: Whether the times are worth a self-check: small shapes show calls, not work.
    """

    def __init__(self, lines: Lines, rounds: int, *, judged: bool) -> None:
        self.lines = lines
        self.rounds = rounds
        self.judged = judged
        self.checked: set[str] = set()

    def compare(self, name: str, entry: Naive, shape: Shape) -> None:
        """Print time and memory of one loss at one shape, or that both forms differ."""
        label = f"{name} {list(shape)}"
        both = pair(name, entry, shape)
        ours, naive = both.values
        if not math.isclose(ours, naive, rel_tol=RTOL):
            note = f"ours {ours:.8g}, the naive form {naive:.8g}: no comparison"
            self.lines.wrong(label, note)
            return
        started = time.process_time()
        both.naive()
        self.times(label, name, both, shape, time.process_time() - started)
        self.memory(label, name, both, shape)

    def times(self, label: str, name: str, both: Pair, shape: Shape, elapsed: float) -> None:
        """Measure both in turn; the first at a shape is also measured against itself."""
        variants: dict[str, Callable[[], object]] = {"naive": both.naive, "ours": both.ours}
        has_target = name == "kd" and shape[-1] >= LARGE_VOCABULARY
        is_new = elapsed < TOO_LONG and str(shape) not in self.checked
        check = self.judged and (has_target or is_new)
        if check:
            self.checked.add(str(shape))
            variants["again"] = both.naive
        rounds = self.rounds if elapsed < LONG or check else min(self.rounds, FEW)
        inner = max(1, round(0.02 / max(elapsed, 1e-5)))
        seconds = interleaved(variants, rounds=rounds, inner=inner, warmup=1)
        if check:
            self.lines.self_check(label, seconds["again"], seconds["naive"])
        value = ratio(seconds["ours"], seconds["naive"])
        ours, naive = (1e3 * min(seconds[form]) for form in ("ours", "naive"))
        note = f"{ours:.3g} vs {naive:.3g} ms"
        if has_target:
            self.lines.add(f"{label} time, ours / naive", value, "<= 0.75", value <= 0.75, note)
        else:
            self.lines.inform(f"{label} time, ours / naive", value, note)

    def memory(self, label: str, name: str, both: Pair, shape: Shape) -> None:
        """Measure what both hold beyond their inputs, in units of the student's tensor."""
        ours, naive = allocated(both.ours), allocated(both.naive)
        multiple = ours.peak / both.input_bytes
        note = f"{multiple:.2f} vs {naive.peak / both.input_bytes:.2f} x the student's"
        if name == "kd" and shape[-1] >= LARGE_VOCABULARY:
            target = f"{label} peak, x the student's logits"
            self.lines.add(target, multiple, "<= 4", multiple <= 4, note)
        else:
            self.lines.inform(f"{label} peak memory, ours / naive", ours.peak / naive.peak, note)
        if name == "rkd" and shape[0] >= MANY_SAMPLES:
            self.triplets(label, ours, shape)
        if isinstance(both.loss, CRDLoss):
            self.banks(label, ours, both.loss, shape)

    def triplets(self, label: str, ours: Allocated, shape: Shape) -> None:
        """RKD never holds the angles of all triplets in one tensor."""
        value = ours.largest / (4 * shape[0] ** 3)
        note = f"largest {ours.largest / 2**20:.1f} MiB"
        self.lines.add(f"{label} largest tensor / all B^3 cosines", value, "< 1", value < 1, note)

    def banks(self, label: str, ours: Allocated, loss: CRDLoss, shape: Shape) -> None:
        """CRD's docstring states the bytes of its banks and of the scores it holds."""
        held = sum(
            bank.vectors.numel() * bank.vectors.element_size()
            for bank in (loss.bank_student, loss.bank_teacher)
        )
        assert loss.samples is not None
        value = held / (2 * loss.samples * loss.dim * 4)
        note = f"{held / 1e6:.1f} MB"
        self.lines.add(f"{label} banks / 2 n d 4 bytes", value, "== 1", value == 1, note)
        value = ours.peak / CRD_SCORES
        note = f"{ours.peak / 2**20:.0f} MiB, indices of the drawn included"
        self.lines.add(f"{label} peak memory / 192 MiB", value, "<= 1", value <= 1, note)

    def compiled(self, name: str, entry: Naive, shape: Shape) -> None:
        """Measure the compiled loss against the naive form in eager mode."""
        label = f"{name} {list(shape)} compiled"
        both = pair(name, entry, shape)
        expected = both.naive()[0].item()
        both.loss.compile(fullgraph=True, dynamic=False)
        found = both.ours()[0].item()
        if not math.isclose(found, expected, rel_tol=RTOL):
            self.lines.wrong(label, f"{found:.8g}, the naive form {expected:.8g}")
            return
        seconds = interleaved({"naive": both.naive, "ours": both.ours}, rounds=self.rounds)
        times = ratio(seconds["ours"], seconds["naive"])
        multiple = allocated(both.ours).peak / both.input_bytes
        if name == "kd" and shape[-1] >= LARGE_VOCABULARY:
            self.lines.add(f"{label} time / naive", times, "<= 0.35", times <= 0.35)
            target = f"{label} peak, x the student's logits"
            self.lines.add(target, multiple, "<= 1.2", multiple <= 1.2)
        else:
            note = f"peak {multiple:.2f} x the student's"
            self.lines.inform(f"{label} time / naive", times, note)


def selected(only: list[str] | None) -> dict[str, Naive]:
    """Return the losses to measure; an unknown name ends the run with 2."""
    unknown = sorted(set(only or ()) - set(TABLE))
    if unknown:
        reason = ", ".join(WITHOUT.get(name, "not in benchmarks/naive") for name in unknown)
        print(f"no naive form of {', '.join(unknown)}: {reason}")
        raise SystemExit(2)
    return {name: TABLE[name] for name in only or TABLE}


def need_compiler() -> None:
    if not any(shutil.which(found) for found in (os.environ.get("CXX", "g++"), "clang++")):
        raise SystemExit("--compile needs a C++ compiler (g++ or clang++, or CXX=...)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", metavar="NAME", help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="small shapes, to see that all runs")
    parser.add_argument("--compile", action="store_true", help="also compiled: kd, or those named")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    entries = selected(arguments.only)
    if arguments.compile:
        need_compiler()
    lines = Lines("losses")
    rounds = arguments.rounds or (3 if arguments.quick else 9)
    suite = Suite(lines, rounds, judged=not arguments.quick)
    for name, entry in entries.items():
        for shape in entry.sizes.quick if arguments.quick else entry.sizes.full:
            suite.compare(name, entry, shape)
            if arguments.compile and (arguments.only or name == "kd"):
                suite.compiled(name, entry, shape)
    if not arguments.only:
        left = sorted(set(index()) - set(TABLE))
        print("without a naive form:")
        for name in left:
            print(f"        {name}: {WITHOUT.get(name, 'none written yet')}")
    if arguments.quick:
        print("quick: everything ran; these times say little about the shapes that count")
    lines.finish(arguments.json)


if __name__ == "__main__":
    main()
