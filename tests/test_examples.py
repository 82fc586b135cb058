"""Every example runs."""

import runpy
from importlib import import_module
from pathlib import Path

import pytest

NEEDS = {"from_timm": "timm.task", "from_fasterai": "fastai.basics"}
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs_as_a_script(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if path.stem in NEEDS:
        try:
            import_module(NEEDS[path.stem])
        except Exception as error:  # not installed, or not for the installed torch
            pytest.skip(f"{NEEDS[path.stem]}: {error}")
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()
    assert len(path.read_text(encoding="utf-8").splitlines()) < 70
