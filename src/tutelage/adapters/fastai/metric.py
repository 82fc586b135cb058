"""The terms of a distillation as columns of the recorder's table."""

from collections.abc import Callable, Mapping
from typing import Any

from fastai.learner import Learner, Metric
from fastai.torch_core import find_bs
from torch import Tensor


class TermMetric(Metric):  # type: ignore[misc]  # fastai has no types
    """The mean of one term over the samples that were judged.

    Args:
        term: The term's name.
        parts: Returns the values of the latest batch by term; empty if it was not judged.
    """

    def __init__(self, term: str, parts: Callable[[], Mapping[str, Tensor]]) -> None:
        self.term = term
        self.parts = parts
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self.total: Any = 0.0
        self.count = 0

    def accumulate(self, learn: Learner) -> None:
        """Add the latest batch."""
        value = self.parts().get(self.term)
        if value is None:
            return
        size = find_bs(learn.yb)
        self.total += learn.to_detach(value) * size
        self.count += size

    @property
    def value(self) -> Any:
        """The mean, or ``None`` before the first batch."""
        return self.total / self.count if self.count else None

    @property
    def name(self) -> str:
        """The name of its column: by ``loss`` in it fastai's trackers know that less is better."""
        return f"{self.term}_loss"
