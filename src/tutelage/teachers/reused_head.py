"""The student that SimKD deploys: its own body and the teacher's classifier (2203.14001)."""

import copy
from typing import Any, Self

from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.signals import call
from tutelage.taps import Taps


class ReusedHead(nn.Module):
    r"""A student whose last map goes through a projector into the teacher's frozen classifier.

    .. math:: z = W \, \mathrm{mean}_{hw}\, r(F^s) + b

    Train *it* as the student, with the projector's output as the tapped layer:

    .. code-block:: python

        student = ReusedHead(net, BottleneckProjector(64, 256), teacher_net.fc, at="layer3")
        distiller = tl.Distiller(
            student, teacher, [tl.Term(tl.SimKDLoss(), at=("projector", "layer3"))]
        )

    Then its logits are the ones that are evaluated, and ``student_only()`` is what is deployed.
    Beside the student's body it keeps the projector and the classifier: count
    :attr:`extra_parameters` against it. The student's own layers after ``at`` go on running, since
    hooks cannot stop a forward; take them out of ``student`` to save their cost.

    Args:
        student: A model with a layer that gives a map ``[B, C, H, W]`` or vectors ``[B, C]``.
        projector: From that to what ``head`` classifies.
        head: The teacher's classifier of pooled features ``[B, D]``; copied and frozen.
        at: The student's layer; ``None`` takes what ``student`` returns.

    Raises:
        TapError: The student has no such layer.

    >>> import torch
    >>> body = nn.Conv2d(3, 8, 3)
    >>> model = ReusedHead(body, nn.Conv2d(8, 16, 1), nn.Linear(16, 10))
    >>> model(torch.zeros(2, 3, 6, 6)).shape, model.extra_parameters
    (torch.Size([2, 10]), 314)
    """

    def __init__(
        self, student: nn.Module, projector: nn.Module, head: nn.Module, *, at: str | None = None
    ) -> None:
        super().__init__()
        self.student = student
        self.projector = projector
        # A copy: the student may share no tensor with the teacher, or a step could move it.
        self.head = copy.deepcopy(head).requires_grad_(False).eval()
        self.at = at
        self._taps = None if at is None else Taps(student, [at])

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all but the classifier, whose dropout and statistics rest."""
        super().train(mode)
        self.head.eval()
        return self

    @property
    def extra_parameters(self) -> int:
        """How many numbers the deployed model holds in its projector and its classifier."""
        return sum(p.numel() for part in (self.projector, self.head) for p in part.parameters())

    def forward(self, inputs: Any) -> Tensor:
        """Return the logits ``[B, K]`` of the teacher's classifier."""
        output = call(self.student, inputs)
        feature = output if self._taps is None else self._taps.read()[str(self.at)]
        projected = self.projector(feature)
        if not isinstance(projected, Tensor) or projected.ndim not in (2, 4):
            found = _check.shape(projected) if isinstance(projected, Tensor) else type(projected)
            raise ShapeError(
                f"ReusedHead: expected a map [B, D, H, W] or vectors [B, D] from the projector, "
                f"found {found}; name another layer, at=..."
            )
        pooled = projected.flatten(2).mean(2) if projected.ndim == 4 else projected
        wanted = self.head.in_features if isinstance(self.head, nn.Linear) else pooled.shape[1]
        if pooled.shape[1] != wanted:
            raise ShapeError(
                f"ReusedHead: expected {wanted} channels from the projector, as the classifier "
                f"takes, found {_check.shape(projected)}; project to the map that the teacher "
                "averages and classifies"
            )
        logits: Tensor = self.head(pooled)
        return logits

    def extra_repr(self) -> str:
        """Show the layer that is projected."""
        return f"at={self.at!r}"
