"""Check this package against numbers that it did not produce.

``python tests/conformance/run.py --cases DIR [--json OUT]`` evaluates every case of a folder in the
golden format (``cases.json`` and ``tensors.safetensors``; its README explains it) through
``mapping``. It prints for each case pass, fail or unsupported, with the largest relative
differences in value and gradient (float64) and in value (float32), and ends with 1 if any case
failed, with 2 if the folder cannot be read.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from mapping import Unsupported, evaluate
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

VALUE, GRADIENT, VALUE_FLOAT32 = 1e-9, 1e-7, 1e-4  # relative, as the golden README states
# Relative to at least these, so that rounding around an expected 0 does not count as infinite.
SMALLEST, SMALLEST_FLOAT32, SMALLEST_GRADIENT = 1e-6, 1e-3, 1e-9
# An element of a gradient is held to at least this share of that gradient's largest element, and
# to this share of the case's largest: a bias before a BatchNorm has a gradient of pure rounding.
SHARE_OF_ROLE, SHARE_OF_CASE = 1e-3, 1e-5


@dataclass
class Result:
    """The outcome of one case: pass, fail or unsupported."""

    id: str
    status: str
    reason: str = ""
    value: float | None = None
    expected: float | None = None
    difference: float | None = None
    difference_float32: float | None = None
    gradients: dict[str, float] = field(default_factory=dict)

    def line(self) -> str:
        """Return the case as one line of the report."""
        words = [f"{self.status:<11} {self.id}"]
        if self.difference is not None:
            words.append(f"value {self.difference:.1e}")
        if self.gradients:
            words.append(f"gradient {max(self.gradients.values()):.1e}")
        if self.difference_float32 is not None:
            words.append(f"float32 {self.difference_float32:.1e}")
        return "  ".join([*words, self.reason] if self.reason else words)


def check(case: Any, tensors: dict[str, Tensor]) -> Result:
    """Evaluate one case in float64 and float32 and compare value and gradients."""
    result = Result(id=str(case.get("id", "?")) if isinstance(case, dict) else "?", status="fail")
    try:
        if not isinstance(case, dict):
            raise TypeError(f"expected a case to be an object, found {case!r}")
        _compare(case, tensors, result)
    except Unsupported as error:
        result.status, result.reason = "unsupported", str(error)
    except Exception as error:  # one broken case must not hide the others
        result.reason = f"{type(error).__name__}: {error}"
    return result


def _compare(case: dict[str, Any], tensors: dict[str, Tensor], result: Result) -> None:
    name = case["method"], case["variant"]
    hyper, expected = case["hyperparameters"], float(case["value"])
    inputs = {
        role: _get(tensors, keys, torch.float64, grad=role in case["grads"])
        for role, keys in case["inputs"].items()
    }
    value = evaluate(*name, inputs, hyper)
    result.value, result.expected = value.item(), expected
    result.difference = _relative(value.item(), expected, SMALLEST)
    result.gradients = _gradient_differences(case["grads"], inputs, value, tensors)
    low = {role: _get(tensors, keys, torch.float32) for role, keys in case["inputs"].items()}
    result.difference_float32 = _relative(
        evaluate(*name, low, hyper).item(), expected, SMALLEST_FLOAT32
    )
    reasons = [
        f"value {value.item()!r}, expected {expected!r}" * (not result.difference <= VALUE),
        *(f"gradient of {r}" for r, d in result.gradients.items() if not d <= GRADIENT),
        "value in float32" * (not result.difference_float32 <= VALUE_FLOAT32),
    ]
    result.reason = "; ".join(filter(None, reasons))
    result.status = "fail" if result.reason else "pass"


def _listed(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def _get(
    tensors: dict[str, Tensor], keys: str | list[str], dtype: torch.dtype, *, grad: bool = False
) -> Tensor | list[Tensor]:
    found = [
        tensors[key].to(dtype, copy=True).requires_grad_(grad)
        if tensors[key].is_floating_point()
        else tensors[key]
        for key in _listed(keys)
    ]
    return found if isinstance(keys, list) else found[0]


def _relative(value: float, expected: float, smallest: float) -> float:
    return abs(value - expected) / max(abs(expected), smallest)


def _gradient_differences(
    roles: dict[str, Any], inputs: dict[str, Any], value: Tensor, tensors: dict[str, Tensor]
) -> dict[str, float]:
    """Return, for each role, the largest relative difference of an element of its gradient."""
    expected = {role: [tensors[key] for key in _listed(keys)] for role, keys in roles.items()}
    largest = max((_largest(g) for found in expected.values() for g in found), default=0.0)
    differences = {}
    for role, gradients in expected.items():
        leaves = _listed(inputs[role])
        found = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
        differences[role] = max(
            _relative_gradient(torch.zeros_like(leaf) if ours is None else ours, theirs, largest)
            for leaf, ours, theirs in zip(leaves, found, gradients, strict=True)
        )
    return differences


def _relative_gradient(found: Tensor, expected: Tensor, largest: float) -> float:
    if found.shape != expected.shape:
        raise ValueError(f"gradient {list(found.shape)}, expected {list(expected.shape)}")
    floor = max(SHARE_OF_ROLE * _largest(expected), SHARE_OF_CASE * largest, SMALLEST_GRADIENT)
    return _largest((found - expected) / expected.abs().clamp_min(floor))


def _largest(tensor: Tensor) -> float:
    return float(tensor.abs().max()) if tensor.numel() else 0.0


def load(folder: Path) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Read a folder of cases."""
    cases = json.loads((folder / "cases.json").read_text(encoding="utf-8"))["cases"]
    if not isinstance(cases, list):
        raise TypeError(f"expected cases to be a list, found {type(cases).__name__}")
    return cases, load_file(folder / "tensors.safetensors")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", type=Path, required=True, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every result there")
    options = parser.parse_args(arguments)
    try:
        cases, tensors = load(options.cases)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        print(
            f"{options.cases}: expected cases.json and tensors.safetensors in the golden format, "
            f"found {type(error).__name__}: {error}; see the README beside the golden cases",
            file=sys.stderr,
        )
        return 2
    torch.set_num_threads(1)
    results = [check(case, tensors) for case in cases]
    for result in results:
        print(result.line())
    counts = Counter(result.status for result in results)
    summary = {status: counts[status] for status in ("pass", "fail", "unsupported")}
    print(f"{len(results)} cases: " + ", ".join(f"{n} {status}" for status, n in summary.items()))
    if options.json:
        report = {**summary, "torch": torch.__version__, "results": [asdict(r) for r in results]}
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if counts["fail"] else 0


if __name__ == "__main__":
    sys.exit(main())
