"""Correlation congruence (Peng, Jin, Li, Liu, Zhou, Wu and others, ICCV 2019, 1904.01802)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import InputError
from tutelage.losses.relations.base import RelationLoss
from tutelage.losses.relations.geometry import unit

KERNELS = ("rbf", "bilinear")
VARIANTS = ("paper", "norm")


def correlation(
    rows: Float[Tensor, "B D"], *, kernel: str = "rbf", gamma: float = 0.4, order: int = 2
) -> Float[Tensor, "B B"]:
    r"""Return how every two samples correlate, by a kernel of their vectors.

    .. math:: \mathrm{rbf:}\ K_{ij} = e^{-2 \gamma} \sum_{p=0}^{P} \frac{(2 \gamma)^p}{p!}
        (x_i^\top x_j)^p \qquad \mathrm{bilinear:}\ K_{ij} = x_i^\top x_j

    The first is the Taylor form of :math:`e^{-\gamma \|x_i - x_j\|^2}` for vectors of length 1.

    Args:
        rows: Vectors ``[B, D]`` of length 1.
        kernel: ``"rbf"`` or ``"bilinear"``.
        gamma: :math:`\gamma` above 0.
        order: P of at least 1.

    >>> correlation(torch.eye(2), order=20)[0]  # exp(-0.4 * 0) and exp(-0.4 * 2)
    tensor([1.0000, 0.4493])
    """
    gram = rows @ rows.mT
    if kernel == "bilinear":
        return gram
    total = torch.ones_like(gram)
    for p in range(order, 0, -1):  # Horner's scheme
        total = 1 + total * gram * (2 * gamma / p)
    return math.exp(-2 * gamma) * total


def correlation_distance(
    student: Float[Tensor, "B D"],
    teacher: Float[Tensor, "B E"],
    *,
    kernel: str = "rbf",
    gamma: float = 0.4,
    order: int = 2,
    variant: str = "paper",
) -> Float[Tensor, ""]:
    r"""Measure how differently the samples of student and teacher correlate.

    .. math:: \mathrm{paper:}\ \frac{1}{B^2} \| K^s - K^t \|_F^2 \qquad
        \mathrm{norm:}\ \frac{1}{B^2} \| K^s - K^t \|_F

    with :func:`correlation` for K (equation 6). Without unit.

    Args:
        student: Vectors ``[B, D]`` of length 1.
        teacher: Vectors ``[B, E]`` of length 1.
        kernel: ``"rbf"`` or ``"bilinear"``.
        gamma: Of the rbf kernel, above 0.
        order: Of its Taylor form, at least 1.
        variant: ``"paper"`` squares the norm; ``"norm"``, of a well-known port, does not. With n
            the norm, they differ by the factor n.
    """
    k_s = correlation(student, kernel=kernel, gamma=gamma, order=order)
    k_t = correlation(teacher, kernel=kernel, gamma=gamma, order=order)
    if variant == "paper":
        return (k_s - k_t).square().mean()
    # vector_norm has the gradient 0 at equality, where the root of a sum would have NaN.
    norm: Tensor = torch.linalg.vector_norm(k_s - k_t)
    return norm / k_s.numel()


class CCLoss(RelationLoss):
    """Distance of the correlations within a batch. See :func:`correlation_distance`.

    Maps ``[B, C, H, W]`` and tokens ``[B, N, D]`` are averaged to vectors first. The learned
    embeddings of both sides are not part of it: widths may differ, and a learned map of the
    teacher's side could bring the loss to 0 by mapping all samples to one point. The product of
    the differences of *adjacent* samples that other packages call CC depends on the order of the
    batch and is not offered.

    **Batch:** the paper's form hardly changes, the norm's falls as 1 / B: on independent normal
    features of width 64 they are 3.5e-3, 4.1e-3, 4.0e-3 and 3.7e-3, 1.0e-3, 2.5e-4 at B = 16, 64
    and 256. **Resolution:** none after the mean.

    Args:
        kernel: ``"rbf"`` or ``"bilinear"``.
        gamma: Of the rbf kernel, above 0.
        order: Of its Taylor form, at least 1.
        variant: ``"paper"`` or ``"norm"``.
        normalize: Whether to bring every vector to length 1 first, as the kernel asks for; not
            needed where the layer does it.
        gather: Whether to compare the samples of all processes.

    >>> CCLoss(kernel="bilinear").kernel
    'bilinear'
    """

    name = "cc"
    paper = "1904.01802"
    pools = True

    kernel: str
    gamma: float
    order: int
    variant: str
    normalize: bool

    def __init__(
        self,
        *,
        kernel: str = "rbf",
        gamma: float = 0.4,
        order: int = 2,
        variant: str = "paper",
        normalize: bool = True,
        gather: bool = True,
    ) -> None:
        super().__init__(gather=gather)
        self.kernel = _check.one_of(kernel, KERNELS, "CCLoss.kernel")
        self.gamma = _check.positive(gamma, "CCLoss.gamma")
        if not isinstance(order, int) or order < 1:
            raise InputError(f"CCLoss.order: expected a whole number above 0, found {order!r}")
        self.order = order
        self.variant = _check.one_of(variant, VARIANTS, "CCLoss.variant")
        self.normalize = normalize

    def relate(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the distance of the two correlations, without unit."""
        if self.normalize:
            student, teacher = unit(student), unit(teacher)
        return correlation_distance(
            student,
            teacher,
            kernel=self.kernel,
            gamma=self.gamma,
            order=self.order,
            variant=self.variant,
        )
