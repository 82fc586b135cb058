"""How the contract tests build a loss and what they may expect of it."""

from collections.abc import Callable, Mapping, Sequence
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
            those of its kind (see the tests). Where the loss takes layers, one of them each.
        teacher_shape: From the student's shape to the teacher's; default: the same.
        layers: How many layers, where it takes several.
        minimum: Its value where student and teacher are equal; ``None`` if it has no fixed one
            there (say why in ``exempt["equality"]``).
        exempt: Property -> reason why it does not hold of this loss. Each reason is printed in the
            matrix, so it must stand up to a reader.
        sound: Makes the drawn teacher's tensor fit for the loss (say, a ReLU).
    """

    make: Callable[[], Loss] | None = None
    shapes: Sequence[Shape] | None = None
    teacher_shape: Callable[[Shape], Shape] = lambda shape: shape
    layers: int = 1
    minimum: float | None = 0.0
    exempt: Mapping[str, str] = field(default_factory=dict)
    sound: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor


Records = dict[str, Record]  # by the name of the loss
