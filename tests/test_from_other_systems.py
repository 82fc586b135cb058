"""The page for users of other systems names tests that exist, for every defect, and runs."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import tutelage as tl

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "from-other-systems.md").read_text(encoding="utf-8")
# How many defects were found in each system by running it.
DEFECTS = {"timm": 15, "fasterai": 14, "DeiT": 8, "the article": 5, "tensorlogic-train": 4}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its first two lines."""
    _, found, rest = PAGE.partition(f"### {heading}\n")
    assert found, heading
    lines = [line for line in rest.split("\n#")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def named_in(row: list[str]) -> list[str]:
    return re.findall(r"`(tests/\S+\.py::\S+)`", row[-1])


@cache
def functions(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


TABLES = [
    f"{title} {name}" for name in DEFECTS for title in ("What you had in", "What went wrong in")
]


@pytest.mark.parametrize("system", DEFECTS)
def test_every_defect_has_a_row(system: str) -> None:
    found = rows(f"What went wrong in {system}")
    assert [row[0] for row in found] == [str(n + 1) for n in range(DEFECTS[system])]


@pytest.mark.parametrize("table", TABLES)
def test_every_row_ends_with_tests_that_exist(table: str) -> None:
    for row in rows(table):
        assert len(row) == (4 if "wrong" in table else 3), row
        named = named_in(row)
        assert named, row
        for node in named:
            path, _, name = node.partition("::")
            assert (ROOT / path).is_file(), node
            assert name.startswith("test_"), node
            assert name in functions(path), node


def test_no_test_is_named_outside_of_the_tables_last_column() -> None:
    # So that the test above sees all of them; the introduction shows one as an example.
    in_rows = sum(len(named_in(row)) for table in TABLES for row in rows(table))
    assert PAGE.count("tests/") == in_rows + 1


def test_names_recipes_and_scripts_of_the_page_exist() -> None:
    for name in set(re.findall(r"\btl\.(\w+)", PAGE)):
        assert name in tl.__all__, name
    for name in set(re.findall(r"tutelage (?:check|distill|compare) ([a-z-]+)[` ]", PAGE)):
        assert (ROOT / f"src/tutelage/recipes/{name}.yaml").is_file(), name
    scripts = set(re.findall(r"\]\(\.\./(examples/\w+\.py)\)", PAGE))
    assert len(scripts) == len(DEFECTS)
    assert all((ROOT / script).is_file() for script in scripts)


def test_blocks_of_python_are_python_and_import_what_there_is() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == len(DEFECTS)
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module:
                room = ROOT / "src" / Path(*node.module.split(".")) / "__init__.py"
                exported = room.read_text(encoding="utf-8")
                assert all(f'"{alias.name}"' in exported for alias in node.names)
