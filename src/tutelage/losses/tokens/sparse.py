"""What a teacher says of its likeliest classes only: small enough to be kept on disk or sent."""

from typing import NamedTuple, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import widen


class SparseTeacher(NamedTuple):
    """The k likeliest classes of each position, and their log-probabilities.

    The log-probabilities are those of the softmax over *all* classes, so that what they lack of
    1 is the mass of the others.

    Args:
        ids: Class indices ``[*B, k]``, each at most once in a row.
        log_probs: Their log-probabilities in nats, ``[*B, k]``, in any order.
        temperature: The temperature of the softmax that they come from, above 0. Only a student
            softened by the same one is compared exactly: the mass of the other classes at another
            temperature cannot be known.
    """

    ids: Int[Tensor, "*B k"]
    log_probs: Float[Tensor, "*B k"]
    temperature: float | Tensor = 1.0

    @classmethod
    def from_logits(
        cls, logits: Float[Tensor, "*B V"], *, k: int, temperature: float | Tensor = 1.0
    ) -> Self:
        """Keep the ``k`` likeliest classes of dense logits, or all of them if there are fewer.

        >>> import torch
        >>> teacher = SparseTeacher.from_logits(torch.tensor([[0.0, 3.0, 1.0]]).log(), k=1)
        >>> teacher.ids, teacher.log_probs.exp()
        (tensor([[1]]), tensor([[0.7500]]))
        """
        logits = logits.detach()
        highest, ids = logits.topk(min(k, logits.shape[-1]), -1)
        log_total = (widen(logits) / temperature).logsumexp(-1, keepdim=True)
        return cls(ids, widen(highest) / temperature - log_total, temperature)

    def detach(self) -> Self:
        """Return the same, apart from any graph."""
        return self._replace(log_probs=self.log_probs.detach())

    def positions(self, stop: int) -> Self:
        """Return the tokens before ``stop`` of each sequence ``[B, N, k]``."""
        return self._replace(ids=self.ids[:, :stop], log_probs=self.log_probs[:, :stop])


def check_sparse(student: Float[Tensor, "*B V"], teacher: SparseTeacher, where: str) -> None:
    """Raise unless the teacher has k classes for each position of the student's logits."""
    _check.logits(student, where)
    ids, log_probs = teacher.ids, teacher.log_probs
    fits = ids.shape == log_probs.shape and ids.shape[:-1] == student.shape[:-1]
    if not fits or ids.shape[-1] > student.shape[-1]:
        raise ShapeError(
            f"{where}: expected at most V ids and log-probabilities for each position of logits "
            f"[..., V], found student {_check.shape(student)} vs teacher's ids "
            f"{_check.shape(ids)} and log-probabilities {_check.shape(log_probs)}; both must come "
            "from the same tokens"
        )


def at_ids(logits: Float[Tensor, "*B V"], ids: Int[Tensor, "*B k"]) -> Float[Tensor, "*B k"]:
    """Return the logits of the classes ``ids``, in float32 at least."""
    index = ids if ids.dtype == torch.int64 else ids.long()
    return widen(logits.gather(-1, index))
