"""The documentation is what its sources say."""

import importlib.util
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
