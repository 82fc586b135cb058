"""What most losses of features are: one value per sample, and the mean over them."""

from abc import abstractmethod
from typing import Any

from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Loss
from tutelage.losses.reduction import mean_of_kept


class FeatureLoss(Loss):
    """Abstract root of the losses that give each sample's features their own value.

    Where ``takes_layers``, ``values`` gets a sequence of tensors for each side.
    """

    compares = "features"

    @abstractmethod
    def values(self, student: Any, teacher: Any) -> Float[Tensor, "B"]:
        """Return the loss of each sample; the teacher has no gradient."""

    def forward(self, student: Any, teacher: Any, target: Tensor | None = None) -> Tensor:
        """Return the mean over samples; the target is not read."""
        who = type(self).__name__
        teacher = _check.present(teacher, who, "the teacher's features", "add a teacher")
        held = [t.detach() for t in teacher] if self.takes_layers else teacher.detach()
        return mean_of_kept(self.values(student, held))
