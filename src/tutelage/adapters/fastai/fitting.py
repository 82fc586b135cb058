"""Tell callbacks how every fit ends.

fastai's ``after_fit`` is not sent when a fit ends by an exception, and ``before_fit`` is also sent
by ``get_preds``, ``validate`` and ``tta``. What a callback borrows for a fit, and only for a fit,
it could so neither take at the right time nor surely give back. ``Learner.fit`` is wrapped here
once, which does nothing for a learner that nobody asks about.
"""

import functools
from collections.abc import Callable
from typing import Any

from fastai.learner import Learner


class Fit:
    """One running fit of one learner, and what to do at its end."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.endings: list[Callable[[], None]] = []

    def end(self) -> None:
        """Do all that was asked for, the latest first."""
        while self.endings:
            self.endings.pop()()


_running: list[Fit] = []


def running_fit(learner: Learner) -> Fit | None:
    """Return the fit in which this learner is, or ``None``."""
    return next((fit for fit in reversed(_running) if fit.learner is learner), None)


def _wrapped(fit: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fit)
    def run(self: Learner, *args: Any, **kwargs: Any) -> Any:
        this = Fit(self)
        _running.append(this)
        try:
            return fit(self, *args, **kwargs)
        finally:
            _running.remove(this)
            this.end()

    run.tells_how_it_ends = True  # type: ignore[attr-defined]
    return run


if not hasattr(Learner.fit, "tells_how_it_ends"):
    Learner.fit = _wrapped(Learner.fit)
