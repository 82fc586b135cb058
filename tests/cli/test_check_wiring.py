"""`tutelage check FILE.py:FUNCTION` on a loop of one's own: the counter-example of the docs."""

from pathlib import Path

import pytest

from tutelage.cli.app import main

EXAMPLE = Path(__file__).parents[2] / "docs" / "counter_example.py"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def test_check_names_each_fault_of_the_counter_example_and_exits_with_2(capsys) -> None:
    code, out, err = run(capsys, "check", f"{EXAMPLE}:wiring")
    assert code == 2
    faults = err.strip().splitlines()
    assert len(faults) == 3
    assert "near chance" in faults[0]
    assert faults[1].startswith("projector: 2 of its 2 parameters take part in the loss and are in")
    assert faults[2].startswith("baseline: none is named")
    assert "projector reads nothing that the student computes" in out


def test_check_passes_the_mended_wiring(capsys) -> None:
    code, out, err = run(capsys, "check", f"{EXAMPLE}:mended")
    assert (code, err) == (0, "")
    assert "nothing is wired wrongly" in out


def test_changes_are_refused_for_a_wiring(capsys) -> None:
    code, _, err = run(capsys, "check", f"{EXAMPLE}:wiring", "training.lr=1")
    assert code == 2
    assert "expected no changes for a wiring" in err


def test_a_function_that_returns_a_recipe_is_run_once_and_checked_as_one(capsys, tmp_path) -> None:
    file, ran = tmp_path / "made.py", tmp_path / "ran"
    file.write_text(
        "from pathlib import Path\n"
        "from tutelage.recipes import load\n"
        "def recipe():\n"
        f"    ran = Path({str(ran)!r})\n"
        "    ran.write_text('xx' if ran.exists() else 'x')\n"
        "    return load('digits', ['teacher=null', 'terms=[{loss: ce}]', 'compare=null'])\n",
        encoding="utf-8",
    )
    code, out, _ = run(capsys, "check", f"{file}:recipe", "training.steps=3", "--device", "cpu")
    assert code == 0
    assert "fit to run" in out
    assert ran.read_text() == "x"


def test_a_function_that_returns_something_else_is_refused(capsys, tmp_path) -> None:
    file = tmp_path / "made.py"
    file.write_text("def number():\n    return 3\n", encoding="utf-8")
    code, _, err = run(capsys, "check", f"{file}:number")
    assert code == 2
    assert "expected a function that returns a Recipe" in err
