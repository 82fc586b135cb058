"""DarkRank: the teacher's order of neighbours (Chen, Wang and Zhang, AAAI 2018, 1707.01220)."""

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import InputError
from tutelage.losses.relations.base import RelationLoss
from tutelage.losses.relations.geometry import distances, unit


def rank_surprise(
    student: Float[Tensor, "B D"],
    teacher: Float[Tensor, "B E"],
    *,
    alpha: float = 3.0,
    beta: float = 3.0,
    length: int = 4,
) -> Float[Tensor, "B"]:
    r"""Measure how improbable the student makes the teacher's order of a sample's neighbours.

    .. math:: -\sum_{r=1}^{k} \log \frac{\exp S_{\pi(r)}}{\sum_{q=r}^{k} \exp S_{\pi(q)}}, \qquad
        S_j = -\alpha \|s_i - s_j\|^\beta

    where :math:`\pi` lists the k samples nearest to i for the teacher, the nearest first
    (equations 3 and 6; the hard form, which reads the teacher's most probable order only). The
    sample itself is not among them. Of samples at one distance the first in the batch is taken.

    Args:
        student: Vectors ``[B, D]``.
        teacher: Vectors ``[B, E]``.
        alpha: :math:`\alpha` above 0, the inverse of a temperature.
        beta: :math:`\beta` of at least 1, the contrast between distances.
        length: k of at least 2; at most B - 1 are taken.

    Returns:
        Nats per sample. An order at random costs :math:`\log k!`.
    """
    score, apart = -alpha * distances(student).pow(beta), distances(teacher)
    itself = torch.eye(len(apart), dtype=torch.bool, device=apart.device)
    k = min(length, len(apart) - 1)
    order = apart.masked_fill(itself, torch.inf).argsort(dim=1, stable=True)[:, :k]
    ordered = score.gather(1, order)
    later = torch.ones(k, k, dtype=torch.bool, device=score.device).triu()
    left = ordered.unsqueeze(1).masked_fill(~later, -torch.inf).logsumexp(2)
    # An order hides that the teacher is not a number.
    return (left - ordered).sum(1) + 0 * apart.sum(1)


class DarkRankLoss(RelationLoss):
    r"""Surprise at the teacher's order of neighbours, mean over samples. See :func:`rank_surprise`.

    Maps ``[B, C, H, W]`` and tokens ``[B, N, D]`` are averaged to vectors first. Equal vectors do
    not cost 0, since the student's order is only probable.

    **Batch:** none of its own, but the neighbours get nearer as B grows: 5.8, 5.4 and 5.1 nats on
    independent normal features of width 64 at B = 16, 64 and 256. **Resolution:** none after the
    mean.

    Args:
        alpha: Inverse temperature of the distances, above 0.
        beta: Exponent of the distances, at least 1.
        length: How many neighbours are put in order, at least 2.
        normalize: Whether to bring every vector to length 1 first, as the models of the paper
            do. Without it the value depends on the scale of the features, to the power beta.
        gather: Whether to compare the samples of all processes.

    >>> DarkRankLoss()
    DarkRankLoss(alpha=3.0, beta=3.0, length=4, normalize=True, gather=True)
    """

    name = "dark_rank"
    paper = "1707.01220"
    pools = True

    alpha: float
    beta: float
    length: int
    normalize: bool

    def __init__(
        self,
        *,
        alpha: float = 3.0,
        beta: float = 3.0,
        length: int = 4,
        normalize: bool = True,
        gather: bool = True,
    ) -> None:
        super().__init__(gather=gather)
        self.alpha = _check.positive(alpha, "DarkRankLoss.alpha")
        # Below 1 the gradient between copies of a sample would be infinite.
        if _check.positive(beta, "DarkRankLoss.beta") < 1:
            raise InputError(f"DarkRankLoss.beta: expected a number of at least 1, found {beta!r}")
        if not isinstance(length, int) or length < 2:
            raise InputError(
                f"DarkRankLoss.length: expected a whole number of at least 2, found {length!r}"
            )
        self.beta, self.length, self.normalize = float(beta), length, normalize

    def relate(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the mean surprise of a sample, in nats."""
        if self.normalize:
            student, teacher = unit(student), unit(teacher)
        values = rank_surprise(
            student, teacher, alpha=self.alpha, beta=self.beta, length=self.length
        )
        return values.mean()
