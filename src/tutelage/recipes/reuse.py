"""A student that is judged through its teacher's classifier."""

import torch
from torch import Tensor, nn

from tutelage.projectors import BottleneckProjector
from tutelage.recipes.section import Section
from tutelage.taps import Taps
from tutelage.teachers import FrozenTeacher, ReusedHead
from tutelage.training.modes import eval_mode


class ReuseSettings(Section):
    """The teacher's classifier behind the student's body, as SimKD deploys it.

    Args:
        at: The student's layer whose map is projected.
        teacher: The teacher's layer whose map the projection has to meet.
        head: The teacher's classifier of that map's mean.
    """

    at: str
    teacher: str
    head: str


def through_head(
    settings: ReuseSettings, student: nn.Module, teacher: FrozenTeacher, example: Tensor
) -> nn.Module:
    """Return the student with the teacher's classifier behind a projector of fresh weights.

    Args:
        settings: The layers.
        student: Its body.
        teacher: Whose classifier is copied; it is closed again.
        example: Images, by which the projector is sized.
    """
    try:
        teacher.provide([settings.teacher])
        wanted = teacher(example).taps[settings.teacher]
        with Taps(student, [settings.at]) as taps, eval_mode(student), torch.no_grad():
            student(example)
            found = taps.read()[settings.at]
        head = teacher.layer(settings.head)
    finally:
        teacher.close()
    projector = BottleneckProjector.between(found, wanted).to(example.device)
    return ReusedHead(student, projector, head, at=settings.at)
