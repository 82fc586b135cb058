"""The house rules that a linter does not know."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import tutelage

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "tutelage").rglob("*.py"))


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, tutelage; print({'torch', 'numpy', 'pydantic'} & set(sys.modules) or 'none')"
    )
    assert run(code).strip() == "none"


@pytest.mark.parametrize("module", ["losses", "distiller", "data", "models", "training", "recipes"])
def test_the_core_needs_neither_torchvision_nor_timm(module: str) -> None:
    code = (
        "import sys\n"
        "sys.modules['torchvision'] = sys.modules['timm'] = sys.modules['PIL'] = None\n"
        f"import tutelage.{module}"
    )
    run(code)


def test_an_unknown_name_of_the_package_gets_a_suggestion() -> None:
    with pytest.raises(AttributeError, match="did you mean 'KDLoss'"):
        tutelage.KDLos  # noqa: B018


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_holds_one_idea(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_public_names_change_only_on_purpose() -> None:
    kept = (ROOT / "tests" / "public_names.txt").read_text(encoding="utf-8").split()
    assert list(tutelage.__all__) == kept


def test_every_layer_of_the_house_is_known_to_the_linter() -> None:
    rules = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    known = set(re.findall(r"tutelage\.(\w+)", rules))
    rooms = {path.stem if path.suffix else path.name for path in (ROOT / "src/tutelage").iterdir()}
    rooms = {room for room in rooms if not room.startswith((".", "__"))} - {"py"}
    assert rooms - known == set()
