"""Probabilistic knowledge transfer (Passalis and Tefas, ECCV 2018, 1803.10837)."""

from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.relations.base import RelationLoss
from tutelage.losses.relations.geometry import unit

VARIANTS = ("author", "paper")


def neighbours(rows: Float[Tensor, "B D"], *, eps: float = 1e-7) -> Float[Tensor, "B B"]:
    r"""Return how probable each sample is as a neighbour of every other, by the cosine kernel.

    .. math:: p_{j|i} = \frac{k_{ij}}{\sum_k k_{ik}}, \qquad
        k_{ij} = \frac{1}{2} \left( \frac{x_i^\top x_j}{\|x_i\| \|x_j\|} + 1 \right)

    Each row sums to 1. The sample itself is among its neighbours, as in the released code.

    >>> import torch
    >>> neighbours(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])).round(decimals=4)
    tensor([[1., 0.],
            [0., 1.]])
    """
    x = unit(rows, eps=eps)
    kernel = ((x @ x.mT + 1) / 2).clamp_min(0)  # rounding may take a cosine below -1
    return kernel / kernel.sum(1, keepdim=True)


def neighbour_divergence(
    student: Float[Tensor, "B D"],
    teacher: Float[Tensor, "B E"],
    *,
    variant: str = "author",
    eps: float = 1e-7,
) -> Float[Tensor, ""]:
    r"""Measure how far the student's neighbours are from the teacher's, in nats.

    .. math:: \frac{1}{B^2} \sum_{ij} p^t_{j|i} \log \frac{p^t_{j|i} + \epsilon}{p^s_{j|i} +
        \epsilon}

    with :func:`neighbours` for p (equations 4 and 5 with the cosine kernel of equation 7).

    Args:
        student: Vectors ``[B, D]``.
        teacher: Vectors ``[B, E]``.
        variant: ``"author"``, as above, is the mean over B * B elements of the released code;
            ``"paper"`` is the mean divergence of a row, which is larger by the factor B.
        eps: :math:`\epsilon` above 0, which also joins the lengths of the vectors: the least
            probability that counts.
    """
    p_t, p_s = neighbours(teacher, eps=eps), neighbours(student, eps=eps)
    divergence = p_t * ((p_t + eps).log() - (p_s + eps).log())
    return divergence.mean() if variant == "author" else divergence.sum(1).mean()


class PKTLoss(RelationLoss):
    """Divergence of the neighbours within a batch. See :func:`neighbour_divergence`.

    Maps ``[B, C, H, W]`` and tokens ``[B, N, D]`` are averaged to vectors first.

    **Batch:** the author's form falls as 1 / B; the paper's does not change. On independent
    normal features of width 64, 3e4 times the author's form is 22.0, 7.3 and 1.8 at B = 16, 64
    and 256; the paper's is 0.012, 0.016 and 0.016. The weight 3e4 belongs to the author's form.
    **Resolution:** none after the mean. The scale of the features cancels, but for ``eps``.

    Args:
        variant: ``"author"`` or ``"paper"``.
        eps: The least probability that counts, above 0.
        gather: Whether to compare the samples of all processes.

    >>> PKTLoss()
    PKTLoss(variant='author', eps=1e-07, gather=True)
    """

    name = "pkt"
    paper = "1803.10837"
    pools = True

    variant: str
    eps: float

    def __init__(self, *, variant: str = "author", eps: float = 1e-7, gather: bool = True) -> None:
        super().__init__(gather=gather)
        self.variant = _check.one_of(variant, VARIANTS, "PKTLoss.variant")
        self.eps = _check.positive(eps, "PKTLoss.eps")

    def relate(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the divergence of the batch, in nats."""
        return neighbour_divergence(student, teacher, variant=self.variant, eps=self.eps)
