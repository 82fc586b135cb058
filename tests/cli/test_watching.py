import io

import pytest
from rich.console import Console
from rich.progress import Progress

from tutelage.cli import watching
from tutelage.cli.watching import Bar, Lines


def test_lines_come_every_few_seconds_and_name_the_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: now[0])
    lines = Lines()
    lines.begin("kd, seed 3", 2, 8)
    for step, now[0] in ((1, 1.0), (2, 6.0), (3, 7.0), (4, 12.0)):
        lines.progress(1, step, 9, f"kd, seed 3: loss {step}")
    assert capsys.readouterr().err.splitlines() == [
        "[2/8] kd, seed 3: step 2/9, loss 2",
        "[2/8] kd, seed 3: step 4/9, loss 4",
    ]


def test_the_bar_shows_how_far_all_trainings_are() -> None:
    out = io.StringIO()
    with Progress(console=Console(file=out)) as progress:
        bar = Bar(progress)
        bar.begin("kd, seed 0", 3, 4)
        bar.progress(1, 5, 10, "kd, seed 0: loss 1")
        [task] = progress.tasks
        assert (task.completed, task.total) == (2.5, 4)
        assert task.description == "kd, seed 0: loss 1"
        bar.say("[bold]kept as it is[/bold]")
    assert "[bold]kept as it is[/bold]" in out.getvalue()
