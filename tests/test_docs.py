"""The documentation is what its sources say."""

import importlib.util
import json
import re
from pathlib import Path

from tutelage.losses.page import dependence

ROOT = Path(__file__).parents[1]


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pages_of_the_losses_are_up_to_date() -> None:
    writer = load(ROOT / "docs" / "write_losses.py")
    names = [path.name for path in writer.stale(writer.pages())]
    assert not names, "run: python docs/write_losses.py"


def test_every_loss_is_measured() -> None:
    writer = load(ROOT / "docs" / "write_losses.py")
    names = {path.stem for path in writer.pages()} - {"README"}
    assert names == set(dependence()["losses"]), "run: python benchmarks/dependence.py NAME"


def test_what_is_quoted_is_what_is_measured() -> None:
    found = dependence()["losses"]["logit_mse"]["ratios"]
    assert found["batch"][0] == 1.0  # a mean over samples ...
    assert found["batch"][1] == 0.707  # ... whose gradient spreads over them, by the root of two
    assert dependence()["losses"]["hint"]["ratios"]["resolution"][1] == 0.5


def test_effects_on_the_pages_of_the_losses_are_those_of_the_zoos_tables() -> None:
    # Both are written from one finished run; a table that somebody improved by hand would differ.
    page = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"<!-- (zoo-\S+) -->\n(.*?)<!-- end -->", page, re.DOTALL))
    tables = {
        name: {row[0]: float(row[4]) for row in rows(text) if re.match(r"[+-]\d", row[4])}
        for name, text in sections.items()
    }
    kept = json.loads((ROOT / "docs" / "zoo.json").read_text(encoding="utf-8"))
    effects = [effect for each in kept.values() for effect in each]
    assert len(effects) > 50
    for effect in effects:
        shown = tables[effect["where"]][effect["arm"]]
        assert abs(shown - 100 * effect["delta"]) < 0.051, effect


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
