"""Measure how the value and gradient of each loss depend on batch, resolution and class count.

``python benchmarks/dependence.py [NAME ...]`` evaluates each loss on standard normal inputs, many
draws averaged, at one size and at twice that size along each axis, and writes the ratios into the
file that the pages of the losses quote. Where a size is fixed by the loss's parts or its layout,
the axis is left out.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "contract"))

from records.cases import Case, cases  # noqa: E402

from tutelage.errors import DataError  # noqa: E402

OUT = ROOT / "src" / "tutelage" / "losses" / "dependence.json"
DRAWS, BATCH = 32, 16
HOW = (
    "Ratios of means over {draws} draws of standard normal inputs, starting at a student's tensor "
    "of {shape}."
)
# Standard sizes by kind and number of axes, and what each axis is called.
LAYOUTS: dict[tuple[str, int], tuple[tuple[int, ...], dict[str, tuple[int, ...]]]] = {
    ("logits", 2): ((BATCH, 50), {"batch": (0,), "classes": (1,)}),
    ("logits", 3): ((BATCH, 6, 50), {"batch": (0,), "positions": (1,), "classes": (2,)}),
    ("features", 2): ((BATCH, 32), {"batch": (0,), "channels": (1,)}),
    ("features", 3): ((BATCH, 9, 32), {"batch": (0,), "positions": (1,), "channels": (2,)}),
    ("features", 4): (
        (BATCH, 16, 6, 6),
        {"batch": (0,), "resolution": (2, 3), "channels": (1,)},
    ),
}


def mean_of_draws(case: Case, shape: Any) -> tuple[float, float]:
    """Return the mean value of a loss and the mean norm of the student's gradient."""
    values, norms = [], []
    for seed in range(DRAWS):
        batch = case.batch(shape, torch.float32, seed).leaf()
        value = case.value(batch)
        value.backward()
        values.append(value.item())
        norms.append(torch.stack([g.square().sum() for g in batch.gradients()]).sum().sqrt().item())
    return fmean(values), fmean(norms)


def measure(case: Case) -> dict[str, Any]:
    """Return the shape that a loss is measured at, and the ratios by axis."""
    first = case.shapes[0]
    try:
        return _from(case, first, BATCH)
    except DataError:  # its banks are made for few samples in the tests
        return _from(case, first, len(case.batch().tensors()[0]))


def _from(case: Case, first: Any, batch: int) -> dict[str, Any]:
    layered = isinstance(first[0], tuple)
    shape, axes = LAYOUTS.get((case.kind.compares, len(first)), (first, {"batch": (0,)}))
    if layered or case.record.fixed:
        shape, axes = first, {"batch": (0,)}
    shape = tuple((batch, *one[1:]) for one in shape) if layered else (batch, *shape[1:])
    start = mean_of_draws(case, shape)
    ratios = {}
    for name, doubled in axes.items():
        bigger = (
            tuple(_doubled(one, doubled) for one in shape) if layered else _doubled(shape, doubled)
        )
        try:
            there = mean_of_draws(case, bigger)
        except (ValueError, RuntimeError, IndexError):  # a size that its parts fix
            continue
        ratios[name] = [_ratio(b, a) for a, b in zip(start, there, strict=True)]
    return {"shape": _shown(shape), "ratios": ratios}


def _doubled(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(2 * size if axis in axes else size for axis, size in enumerate(shape))


def _ratio(there: float, here: float) -> float:
    return float(f"{there / here:.3g}")


def _shown(shape: Any) -> str:
    return " and ".join(map(_shown, shape)) if isinstance(shape[0], tuple) else str(list(shape))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these losses")
    names = parser.parse_args(arguments).names
    torch.set_num_threads(1)
    found = json.loads(OUT.read_text(encoding="utf-8"))["losses"] if names else {}
    failed = False
    for case in cases():
        if names and case.name not in names:
            continue
        try:
            found[case.name] = measure(case)
        except Exception as error:  # one broken loss must not hide the others
            print(f"{case.name}: {type(error).__name__}: {error}", file=sys.stderr)
            failed = True
            continue
        ratios = found[case.name]["ratios"].items()
        words = "  ".join(f"{key} x{value:g} (x{gradient:g})" for key, (value, gradient) in ratios)
        print(f"{case.name:<18} {found[case.name]['shape']}: {words}", flush=True)
    how = HOW.replace("{draws}", str(DRAWS))
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(found[key])}" for key in sorted(found))
    OUT.write_text(f'{{"how": {json.dumps(how)}, "losses": {{\n{lines}\n}}}}\n', encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
