"""The matrix of losses and properties tells a failure, an exemption and a gap apart."""

from types import SimpleNamespace

import matrix
import pytest
from records.cases import Case


def item(loss: str, number: int) -> SimpleNamespace:
    return SimpleNamespace(
        nodeid=f"{loss}-{number}",
        function=SimpleNamespace(obeys="order"),
        callspec=SimpleNamespace(params={"case": Case(loss)}),
    )


@pytest.mark.parametrize(
    ("reports", "mark"),
    [
        ([("call", "passed", "")], "+"),
        ([("call", "passed", ""), ("call", "failed", "")], "F"),
        ([("setup", "failed", ""), ("call", "passed", "")], "F"),
        ([("setup", "skipped", "exempt: it is so")], "e"),
        ([("setup", "skipped", "no GPU here")], "-"),
        ([("setup", "passed", "")], "."),
        ([], "."),
    ],
)
def test_a_cell_shows_the_worst_of_its_tests(reports, mark) -> None:
    outcomes = matrix.Outcomes(["kd"])
    items = [*(item("kd", number) for number in range(len(reports))), item("ce", 0)]
    outcomes.pytest_collection_modifyitems(items)
    assert [one.nodeid for one in items] == [f"kd-{n}" for n in range(len(reports))]
    for number, (when, outcome, text) in enumerate(reports):
        outcomes.pytest_runtest_logreport(
            SimpleNamespace(nodeid=f"kd-{number}", when=when, outcome=outcome, longrepr=text)
        )
    assert outcomes.mark("kd", "order") == mark


def test_own_tests_are_looked_for_where_they_mirror_the_loss() -> None:
    assert matrix.own_tests("kd")
