"""What a learner trains during a fit: student and projectors as one module."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from tutelage.distiller import Distiller


class Judged(NamedTuple):
    """The student's output with what the distillation says of it.

    Args:
        output: What the student returned.
        loss: The weighted sum of the terms, with its graph.
        parts: The unweighted value of each term.
    """

    output: Any
    loss: Tensor
    parts: Mapping[str, Tensor]


class Distilled(nn.Module):
    """The student, and for the one batch that is announced also its terms.

    Projectors so run inside ``forward``, where DDP, which wraps this, sees them. To everyone else
    it is the student: its output, its attributes and its checkpoint.

    Args:
        distiller: The student with its terms.
    """

    def __init__(self, distiller: Distiller) -> None:
        super().__init__()
        self.distiller = distiller
        #: Finds the target by the student's output; set for the next batch to be judged.
        self.announced: Callable[[Any], Tensor | None] | None = None

    @property
    def student(self) -> nn.Module:
        """The bare student."""
        return self.distiller.student

    def forward(self, *inputs: Any) -> Any:
        """Return the student's output; :class:`Judged` if this batch was announced."""
        target_of, self.announced = self.announced, None
        output = self.student(*inputs)
        if target_of is None:
            return output
        one = inputs[0] if len(inputs) == 1 else inputs
        step = self.distiller.judge(output, one, target_of(output))
        return Judged(output, step.loss, dict(step.parts))

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Return that of the student: a checkpoint of the learner holds nothing else."""
        return self.student.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint into the student."""
        return self.student.load_state_dict(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(cast(Distiller, super().__getattr__("distiller")).student, name)

    def __getitem__(self, index: Any) -> Any:
        return self.student[index]  # type: ignore[index]
