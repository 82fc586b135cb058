"""Is everything that learns known to the optimiser? Seen from whether it has moved."""

from torch import nn

from tutelage.errors import InputError


class OptimiserWatch:
    """Raises if an optimiser moves the student and leaves the projectors where they are.

    An optimiser that was built from the student alone, as timm's own training did before 1.0.27,
    never trains a projector and never says so. Parameters count their changes in place, so this
    is known after the first step and costs nothing afterwards.

    Args:
        student: The student.
        others: What learns beside it.
    """

    def __init__(self, student: nn.Module, others: nn.Module) -> None:
        self._student, self._others = student, others
        self._start: tuple[list[int], list[int]] | None = None
        self._is_settled = not any(p.requires_grad for p in others.parameters())

    def restart(self) -> None:
        """Forget the first look: something else than an optimiser has moved the student."""
        self._start = None

    def look(self) -> None:
        """Compare with the first look, until the student has moved.

        Raises:
            InputError: The student has moved, and nothing of the others has.
        """
        if self._is_settled:
            return
        now = (_versions(self._student), _versions(self._others))
        if self._start is None:
            self._start = now
            return
        if now[0] == self._start[0]:
            return
        if now[1] == self._start[1]:
            raise InputError(
                "optimiser: expected it to train the projectors as well, found that it moved the "
                "student alone; build it from task.get_trainable_module(), as "
                "create_optimizer_v2(task.get_trainable_module(), ...)"
            )
        self._is_settled = True


def _versions(module: nn.Module) -> list[int]:
    return [p._version for p in module.parameters() if p.requires_grad]
