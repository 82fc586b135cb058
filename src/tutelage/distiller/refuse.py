"""What a distiller refuses to be built from, and why: the one list of it."""

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tutelage import _check
from tutelage.errors import InputError, ShapeError, TapError, TeacherError
from tutelage.losses import Loss
from tutelage.objective import Objective
from tutelage.signals import SparseLogits
from tutelage.teachers import EMATeacher, Itself, Teacher


def checked_teacher(teacher: Teacher | None) -> Teacher | None:
    """Return the teacher; raise if it is a bare module, which could move."""
    if teacher is not None and not hasattr(teacher, "provide"):
        raise TeacherError(
            f"Distiller: expected a teacher such as tl.FrozenTeacher(model), found a bare "
            f"{type(teacher).__name__}; wrap it in tl.FrozenTeacher"
        )
    return teacher


def refuse_what_does_not_compile(objective: Objective) -> None:
    """Raise if a compiled step would have to size a projector or move a schedule."""
    if not objective.is_sized:
        raise ShapeError('via="auto": give Distiller(..., example=inputs) before compiling')
    if objective.clock is not None and not objective.clock.is_manual:
        raise InputError("schedules: call distiller.set_step(step) before each compiled step")


def refuse_deferred(objective: Objective) -> None:
    """Raise if a projector has no parameters yet: an optimiser would never know them."""
    if objective.deferred:
        raise InputError(
            f"Distiller: terms {list(objective.deferred)} have a projector, or another part, that "
            "is built from the first tensors, which no optimiser would know; give "
            "Distiller(..., example=inputs)"
        )


def refuse_what_cannot_work(
    student: nn.Module, teacher: Teacher | None, objective: Objective
) -> None:
    """Raise if nothing would be trained, or not what is meant."""
    if teacher is not None:
        mine = (
            *student.named_parameters(),
            *student.named_buffers(),
            *objective.named_parameters(),
            *objective.named_buffers(),
        )
        _check.apart(mine, teacher.named_tensors())
    if teacher is None and objective.needs_teacher:
        names = [t.name for t in objective if t.needs_teacher]
        raise TeacherError(f"Distiller: terms {names} need a teacher, found None")
    if teacher is not None and not objective.needs_teacher:
        raise TeacherError(
            "Distiller: no term compares with the teacher, which would run for nothing; "
            "add a Term (weight=0 only watches) or pass teacher=None"
        )
    _refuse_what_was_not_kept(teacher, objective)
    if isinstance(teacher, Itself):
        idle = [t.name for t in objective if t.compares_one_tensor]
        if idle:
            raise TeacherError(
                f"Distiller: terms {idle} compare the student with itself at one place, where "
                "it can learn nothing; name two, such as at=('exit', None)"
            )
    if isinstance(teacher, EMATeacher) and teacher.student is not student:
        raise TeacherError(
            "Distiller: expected a teacher that follows this student, found one that follows "
            "another model and would never move; give the same module to both"
        )
    if not any(p.requires_grad for p in student.parameters()):
        raise InputError("Distiller: no parameter of the student requires a gradient")
    if isinstance(student, DistributedDataParallel) and list(objective.parameters()):
        raise InputError(
            "Distiller: expected a plain student, found one inside DDP, which leaves the "
            "projectors outside and lets them differ between processes; wrap the distiller"
        )
    if objective.student_taps and hasattr(student, "_orig_mod"):
        raise TapError(
            "Distiller: hooks on a compiled model never fire; build the Distiller from the "
            "plain student and compile the distiller"
        )


def _refuse_what_was_not_kept(teacher: Teacher | None, objective: Objective) -> None:
    """Raise if a term needs more of the teacher's logits than a cache of it holds."""
    if not getattr(teacher, "gives_logits", True) and objective.reads_teacher_logits:
        readers = [t.name for t in objective if t.reads_teacher_logits]
        raise TeacherError(
            f"Distiller: terms {readers} read the teacher's logits, found {teacher!r}, which holds "
            "taps only; compare layers with at=..., or build the cache with logits"
        )
    example: SparseLogits | None = getattr(teacher, "sparse_example", None)
    if example is None:
        return
    for term in objective:
        if not term.reads_teacher_logits:
            continue
        if term.normalize is not None or not isinstance(term.loss, Loss):
            what = "normalize=" if term.normalize is not None else "a loss of your own"
            raise InputError(
                f"term '{term.name}': {what} needs every class, and this teacher keeps "
                f"{example.k} of {example.num_classes}; build the cache without --top-k"
            )
        try:
            term.loss.check_sparse(example)
        except InputError as error:
            raise InputError(f"term '{term.name}': {error}") from None
