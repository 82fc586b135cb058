"""What losses copy from the teacher's own layers."""

from tutelage.errors import InputError, TapError, TeacherError
from tutelage.losses.base import Loss
from tutelage.objective import Objective
from tutelage.teachers import Teacher


def lend(objective: Objective, teacher: Teacher | None) -> None:
    """Let each term's loss copy what it needs from the layer that its ``borrow`` names.

    Raises:
        TeacherError: The teacher's layers cannot be reached.
        TapError: There is no such layer.
        InputError: The loss cannot use it.
    """
    for term in objective:
        if term.borrow is None:
            continue
        layer = getattr(teacher, "layer", None)
        if layer is None:
            raise TeacherError(
                f"term '{term.name}': borrow={term.borrow!r} needs a teacher whose layers can "
                f"be reached, such as tl.FrozenTeacher(model), found {teacher!r}"
            )
        if not isinstance(term.loss, Loss):
            raise InputError(f"term '{term.name}': only a tutelage loss can borrow=")
        try:
            term.loss.borrow(layer(term.borrow))
        except (InputError, TapError, TeacherError) as error:
            raise type(error)(f"term '{term.name}': {error}") from None
