"""Does the teacher know anything? Asked before a run, not after it."""

import math

from tutelage._check import fraction
from tutelage.errors import InputError


def chance_report(accuracy: float, num_classes: int, n: int) -> str | None:
    """Return a warning if a teacher's accuracy is not clearly above guessing, else ``None``.

    Guessing gives ``1 / num_classes``. "Clearly" is three standard errors of a guesser's accuracy
    on ``n`` samples, and at least a twentieth of the way from guessing to perfection.

    Args:
        accuracy: The teacher's top-1 accuracy on labelled samples, from 0 to 1.
        num_classes: Number of classes.
        n: Number of samples it was measured on.

    >>> chance_report(0.95, num_classes=10, n=100) is None
    True
    >>> print(chance_report(0.12, num_classes=10, n=100))  # doctest: +ELLIPSIS
    teacher: accuracy 12.0% on 100 samples is near chance (10.0% for 10 classes); check ...
    """
    fraction(accuracy, "accuracy")
    if num_classes < 2 or n < 1:
        raise InputError(
            f"chance_report: expected at least 2 classes and 1 sample, found {num_classes} and {n}"
        )
    chance = 1 / num_classes
    error = math.sqrt(chance * (1 - chance) / n)
    if accuracy > chance + max(3 * error, (1 - chance) / 20):
        return None
    return (
        f"teacher: accuracy {accuracy:.1%} on {n} samples is near chance ({chance:.1%} for "
        f"{num_classes} classes); check its weights, its classifier, the order of its classes and "
        "the normalisation it expects"
    )
