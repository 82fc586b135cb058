"""Who is told what a run is doing; this one keeps silent."""


class Watch:
    """Base of the watchers of a run; every method does nothing."""

    def say(self, line: str) -> None:
        """Take one line that is worth keeping."""

    def begin(self, name: str, number: int, count: int) -> None:
        """Take note that training ``number`` of ``count`` begins."""

    def progress(self, epoch: int, step: int, total: int, message: str) -> None:
        """Take note of a line of the log, within one training."""
