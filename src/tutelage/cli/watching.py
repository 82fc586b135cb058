"""Progress on the terminal: a bar where there is one, otherwise a line every few seconds."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tutelage.recipes import Watch

_SECONDS = 5.0


@contextmanager
def watching() -> Iterator[Watch]:
    """Give a watcher that writes to standard error."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    columns = (
        TextColumn("{task.fields[count]}"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Bar(bar)


class Lines(Watch):
    """Plain lines, for logs and pipes."""

    def __init__(self) -> None:
        self._place = ""
        self._next = time.monotonic() + _SECONDS

    def say(self, line: str) -> None:
        """Print a line."""
        print(line, file=sys.stderr, flush=True)

    def begin(self, name: str, number: int, count: int) -> None:
        """Remember which training it is."""
        self._place = f"[{number}/{count}] {name}" if count > 1 else name
        if count == 1:
            self.say(f"training: {name}")

    def progress(self, epoch: int, step: int, total: int, message: str) -> None:
        """Print a line, if the last one is some seconds old."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS
            self.say(f"{self._place}: step {step}/{total}, {message.rpartition(': ')[2]}")


class Bar(Watch):
    """A bar that shows how far all trainings together are."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task("", total=1, count="")
        self._done = 0

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, highlight=False, markup=False)

    def begin(self, name: str, number: int, count: int) -> None:
        """Show which training it is."""
        self._done = number - 1
        self._bar.update(
            self._task,
            total=count,
            completed=self._done,
            description=name,
            count=f"{number}/{count}" if count > 1 else "",
        )

    def progress(self, epoch: int, step: int, total: int, message: str) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=self._done + step / total, description=message)
