"""How the contract tests build a loss and what they may expect of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from tutelage.losses import Loss

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Record:
    """What the tests need to know of one loss beyond what its class states.

    Args:
        make: Builds the loss where its defaults are not enough; default: the class itself. The
            tests seed torch before, so that its learned parts are always the same.
        shapes: Layouts of the student's tensor to try, the first being the usual one; default:
            those of its kind (see the tests). Where the loss takes layers, each layer has it; a
            tuple of shapes gives each layer its own.
        teacher_shape: From the student's shape to the teacher's; default: the same.
        layers: How many layers, where it takes several.
        classes: How many classes its target has, where that is not the last axis of logits.
        minimum: Its value where student and teacher are equal; ``None`` if it has no fixed one
            there (say why in ``exempt["equality"]``). Where it is 0, the loss is never negative.
        exempt: Property -> reason why it does not hold of this loss. Each reason is printed in the
            matrix, so it must stand up to a reader. ``records.cases.PROPERTIES`` names them.
        sound: Makes the drawn teacher's tensor fit for the loss (say, a ReLU).
        fixed: Whether only the batch of its shapes may vary (its parts, or its layout, demand it).
        free: Axes of the teacher's first shape that may differ from the student's without an
            error; the batch never may. Default: all others for relations and learned parts of the
            teacher (a ``teacher_shape``), none for the rest.
    """

    make: Callable[[], Loss] | None = None
    shapes: Sequence[Shape] | Sequence[tuple[Shape, ...]] | None = None
    teacher_shape: Callable[[Shape], Shape] | None = None
    layers: int = 1
    classes: int = 4
    minimum: float | None = 0.0
    exempt: Mapping[str, str] = field(default_factory=dict)
    sound: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor
    fixed: bool = False
    free: Collection[int] | None = None


Records = dict[str, Record]  # by the name of the loss
