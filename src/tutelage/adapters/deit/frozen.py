"""A teacher from whatever DeiT's user has of one."""

from typing import Any

from torch import nn

from tutelage.errors import TeacherError
from tutelage.teachers import FrozenTeacher, Teacher


def frozen(model: nn.Module | str | Teacher | None, options: dict[str, Any]) -> Teacher:
    """Return a module, a model's name or one of our teachers as a teacher that cannot move.

    Args:
        model: What the user gave.
        options: Those of :class:`~tutelage.FrozenTeacher`.

    Raises:
        TeacherError: There is none, or options that come too late for a ready teacher.
    """
    if model is None:
        raise TeacherError(
            "DistillationLoss: expected a teacher to learn from, found None; give "
            'teacher_model=, or distillation_type="none"'
        )
    if not isinstance(model, str) and hasattr(model, "provide"):
        if options:
            raise TeacherError(
                f"DistillationLoss: {', '.join(sorted(options))} go with a module or a name, found "
                f"a ready {type(model).__name__}; give them to it"
            )
        ready: Any = model
        return ready  # type: ignore[no-any-return]
    teacher = FrozenTeacher(model, **options)  # type: ignore[arg-type]
    first = next(teacher.model.parameters(), None)
    if first is not None:  # a criterion is seldom moved, and its teacher's module may have been
        for part in (teacher.adapter, teacher.class_map):
            if part is not None:
                part.to(first.device)
    return teacher
