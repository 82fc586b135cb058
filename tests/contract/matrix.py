"""Print what is proven of every loss: the properties of the contract, golden numbers, own tests.

``python tests/contract/matrix.py [NAME ...]`` runs the contract tests and the golden cases and
prints a row for each loss, the reason of each exemption, and the count of losses with all proofs.
It ends with 1 if a test or a golden case failed.
"""

import argparse
import contextlib
import io
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TESTS = HERE.parent
sys.path[:0] = [str(HERE), str(TESTS / "conformance")]

PASSED, FAILED, EXEMPT, NOT_RUN, NOT_ASKED = "+", "F", "e", "-", "."
LEGEND = (
    f"{PASSED} passed   {FAILED} failed   {EXEMPT} exempt, for the reason below   "
    f"{NOT_RUN} not run here   {NOT_ASKED} not asked of it"
)


class Outcomes:
    """A pytest plugin that keeps the outcome of each property for each loss."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.cells: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._of_item: dict[str, tuple[str, str]] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Learn which test asks which property of which loss, and keep only those."""
        for item in items:
            if property_ := getattr(getattr(item, "function", None), "obeys", None):
                self._of_item[item.nodeid] = (item.callspec.params["case"].name, property_)
        cells = self._of_item
        items[:] = [
            item
            for item in items
            if item.nodeid in cells and (not self.names or cells[item.nodeid][0] in self.names)
        ]

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep what counts of a test: its call, or what kept it from being called."""
        cell = self._of_item.get(report.nodeid)
        if cell and (report.when == "call" or report.outcome != "passed"):
            skipped = EXEMPT if "exempt: " in str(report.longrepr) else NOT_RUN
            marks = {"passed": PASSED, "failed": FAILED, "skipped": skipped}
            self.cells[cell].append(marks[report.outcome])

    def mark(self, loss: str, property_: str) -> str:
        """Return the mark of a cell: the worst of its tests."""
        found = self.cells.get((loss, property_), [NOT_ASKED])
        return next(m for m in (FAILED, EXEMPT, PASSED, NOT_RUN, NOT_ASKED) if m in found)


def contract(names: Sequence[str]) -> Outcomes:
    """Run the contract tests in this process."""
    outcomes = Outcomes(names)
    arguments = ["-q", "-p", "no:cacheprovider", "--tb=no", str(HERE)]
    arguments.append(str(TESTS / "compile" / "test_losses.py"))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = pytest.main(arguments, plugins=[outcomes])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(said.getvalue())
    if code:
        print(
            "\n".join(line for line in said.getvalue().splitlines() if line[:6] == "FAILED"), "\n"
        )
    return outcomes


def golden() -> dict[str, Counter[str]]:
    """Return how many golden cases passed and failed in which each loss took part.

    A case may combine losses, and may call the equation rather than the class: a loss took part
    where code of its file ran.
    """
    from run import check, load

    from tutelage.losses import index

    files = {sys.modules[loss.__module__].__file__: name for name, loss in index().items()}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    cases, tensors = load(TESTS / "conformance" / "golden")
    for case in cases:
        ran: set[str] = set()
        sys.setprofile(lambda frame, event, argument, ran=ran: ran.add(frame.f_code.co_filename))
        try:
            result = check(case, tensors)
        finally:
            sys.setprofile(None)
        for file in ran & files.keys():
            counts[files[file]][result.status] += 1
    return counts


def own_tests(name: str) -> bool:
    """Return whether the loss has its own test file, at the place that mirrors its own."""
    from tutelage.losses import index

    *_, family, stem = index()[name].__module__.split(".")
    return (TESTS / "losses" / family / f"test_{stem}.py").is_file()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these losses")
    names = parser.parse_args(arguments).names
    outcomes, numbers = contract(names), golden()
    from records import record_of
    from records.cases import PROPERTIES, cases

    losses = [case.name for case in cases() if not names or case.name in names]
    _header(list(PROPERTIES), max(map(len, losses)))
    complete, failed = 0, 0
    for name in losses:
        marks = [outcomes.mark(name, property_) for property_ in PROPERTIES]
        count, tested = numbers[name], own_tests(name)
        bad = FAILED in marks or count["fail"] > 0
        failed += bad
        complete += tested and count["pass"] > 0 and not bad
        cases_ = f"{count['pass']}" + f" ({count['fail']} F)" * bool(count["fail"])
        row = [name.ljust(max(map(len, losses))), *marks, "+" if tested else "F", cases_]
        print(" ".join(row))
    print(f"\n{LEGEND}\n\nExempt:")
    for name in losses:
        for property_, reason in record_of(name).exempt.items():
            print(f"  {name}, {property_}: {reason}")
    print(f"\n{len(losses)} losses: {complete} with all proofs (the contract, at least one golden "
          f"case, own tests), {failed} with a failure")  # fmt: skip
    lacking = [name for name in losses if not numbers[name]["pass"]]
    print(f"without a golden case: {', '.join(lacking) or 'none'}")
    return int(failed > 0)


def _header(properties: list[str], width: int) -> None:
    """Print the names of the columns from top to bottom."""
    names = [*properties, "own tests", "golden cases"]
    height = max(map(len, names))
    for line in range(height):
        letters = [name.rjust(height)[line] for name in names]
        print((" " * (width + 1) + " ".join(letters)).rstrip())
    print()


if __name__ == "__main__":
    sys.exit(main())
