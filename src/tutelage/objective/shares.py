"""Two weights from one number: ``(1 - alpha) * task + alpha * distillation``."""

from dataclasses import dataclass

from tutelage import _check
from tutelage.losses.scheduled import Schedule


def shares(alpha: float | Schedule) -> tuple[float | Schedule, float | Schedule]:
    r"""Return the weights of the task's loss and of the distillation.

    .. math:: (1 - \alpha)\, L_{task} + \alpha\, L_{distillation}

    Terms take any weights of at least 0. Where a method or a habit mixes two losses by one number,
    this states the mixture once, so that its halves cannot come apart.

    Args:
        alpha: Share of the distillation, from 0 to 1, or a schedule (step -> share): both weights
            then move together.

    Raises:
        InputError: If alpha is, or is going to be, outside 0 to 1.

    >>> shares(0.75)
    (0.25, 0.75)
    """
    if not callable(alpha):
        alpha = _check.fraction(alpha, "alpha")
        return 1 - alpha, alpha
    for extreme in getattr(alpha, "bounds", ()):
        _check.fraction(extreme, f"alpha under {alpha}")
    return Rest(alpha), alpha


@dataclass(frozen=True)
class Rest:
    """A schedule: what another one leaves of 1.

    Args:
        share: The other one, which stays within 0 and 1.
    """

    share: Schedule

    @property
    def bounds(self) -> tuple[float, ...]:
        """The lowest and the highest value, where the other schedule knows its own."""
        return tuple(1 - extreme for extreme in reversed(getattr(self.share, "bounds", ())))

    def __call__(self, step: int) -> float:
        """Return the value at ``step``."""
        return 1 - _check.fraction(self.share(step), f"alpha at step {step}")
