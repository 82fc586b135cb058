"""How much the task and the distillation count: timm's three modes."""

from dataclasses import dataclass

from tutelage import _check
from tutelage.errors import InputError
from tutelage.losses.base import Schedule


@dataclass(frozen=True)
class Weights:
    """The factors of both losses in the total.

    Args:
        task: Of the loss on the labels.
        distill: Of the loss on the teacher.
        mode: ``"independent"``, ``"complementary"``, ``"equal"`` or ``"terms"``.
    """

    task: float | Schedule
    distill: float | Schedule
    mode: str


def weights_for(
    task: float | Schedule | None, distill: float | Schedule | None, *, has_terms: bool = False
) -> Weights:
    """Return the weights that are meant by what was given.

    ==================  ===============  =========================
    given               mode             task, distill
    ==================  ===============  =========================
    distill, or both    independent      task or 1, distill
    task only           complementary    task, 1 - task
    neither             equal            1, 1
    ==================  ===============  =========================

    Independent weights may be schedules (step -> weight). Terms have weights of their own, so
    that with them only the task's can be given.

    Raises:
        InputError: A weight is negative or not finite, the only one is outside ``[0, 1]``, or one
            is given twice.

    >>> weights_for(0.25, None)
    Weights(task=0.25, distill=0.75, mode='complementary')
    """
    if has_terms:
        if distill is not None:
            raise InputError(
                "distill_loss_weight: expected none beside terms, which have weights of their own, "
                f"found {distill!r}; write it into Term(loss, weight)"
            )
        return Weights(1.0 if task is None else _checked(task, "task_loss_weight"), 1.0, "terms")
    if distill is not None:
        task = 1.0 if task is None else _checked(task, "task_loss_weight")
        return Weights(task, _checked(distill, "distill_loss_weight"), "independent")
    if task is None:
        return Weights(1.0, 1.0, "equal")
    if callable(task):
        raise InputError(
            "task_loss_weight: expected a number where distill_loss_weight is not given, found a "
            "schedule; give distill_loss_weight too"
        )
    task = _check.fraction(
        task, "task_loss_weight without distill_loss_weight (which is then 1 - task_loss_weight)"
    )
    return Weights(task, 1.0 - task, "complementary")


def _checked(weight: float | Schedule, name: str) -> float | Schedule:
    return weight if callable(weight) else _check.non_negative(weight, name)
