"""Relational knowledge distillation (Park, Kim, Lu and Cho, CVPR 2019, 1904.05068)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tutelage import _check
from tutelage.errors import InputError
from tutelage.losses.relations.base import RelationLoss
from tutelage.losses.relations.geometry import directions, distances, in_range, resolution, unit

# Elements of one chunk of triplets: 8 MiB in float32.
CHUNK = 2**21


def distance(
    student: Float[Tensor, "B D"], teacher: Float[Tensor, "B E"], *, delta: float = 1.0
) -> Float[Tensor, ""]:
    r"""Measure how differently student and teacher place pairs, in shares of the mean distance.

    .. math:: \frac{1}{B^2} \sum_{ij} \ell_\delta\Big( \frac{\|s_i - s_j\|}{\mu^s} -
        \frac{\|t_i - t_j\|}{\mu^t} \Big), \qquad
        \mu = \frac{1}{B (B - 1)} \sum_{i \ne j} \|x_i - x_j\|

    with the Huber loss :math:`\ell_\delta` (equations 5 to 7 of the paper). The diagonal, which
    is 0, is counted in the mean, as in the released code.

    Args:
        student: Vectors ``[B, D]``. Equal ones have a gradient of 0 towards each other.
        teacher: Vectors ``[B, E]``.
        delta: Where the Huber loss turns from square to linear, above 0; 1 in the paper.

    >>> line = torch.tensor([[0.0], [1.0], [3.0]])
    >>> distance(line, -7 * line)
    tensor(0.)
    """
    return F.huber_loss(_relative(student), _relative(teacher), delta=delta)


def angle(
    student: Float[Tensor, "B D"], teacher: Float[Tensor, "B E"], *, delta: float = 1.0
) -> Float[Tensor, ""]:
    r"""Measure how differently student and teacher see the angles of triplets, by their cosines.

    .. math:: \frac{1}{B^3} \sum_{ijk} \ell_\delta( \cos \angle s_j s_i s_k - \cos \angle t_j t_i
        t_k )

    (equations 8 to 10). Triplets with two equal members have a cosine of 0 and are counted in the
    mean, as in the released code. The cost grows as :math:`B^3 D`; the memory does not: anchors i
    go in chunks of about 2 million elements, each computed again for its gradient. Measured in
    float32 with the backward: 105 MB at most at B = 256 and D = 512, where all cosines at once
    take about 1 GB. The peak starts to grow, as :math:`B (B + D)`, where one anchor fills a chunk
    (B = 1,200 at D = 512).

    Args:
        student: Vectors ``[B, D]``.
        teacher: Vectors ``[B, E]``.
        delta: Where the Huber loss turns from square to linear, above 0; 1 in the paper.

    >>> corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> angle(corner, 5 - 2 * corner)
    tensor(0.)
    """
    student, teacher = in_range(student), in_range(teacher)
    size = len(student)
    step = max(1, CHUNK // (size * (size + max(student.shape[1], teacher.shape[1]))))
    total = student.new_zeros(())
    for start in range(0, size, step):
        total = total + checkpoint(
            _angles_at,
            student,
            teacher,
            slice(start, start + step),
            delta,
            use_reentrant=False,
            preserve_rng_state=False,
        )
    return total / size**3


class RKDLoss(RelationLoss):
    r"""Weighted :func:`distance` and angle within a batch.

    .. math:: w_d \, \mathrm{distance} + w_a \, \mathrm{angle}

    Maps ``[B, C, H, W]`` and tokens ``[B, N, D]`` are averaged to vectors first. Both parts ignore
    the scale of the features, a shift and a rotation.

    **Batch:** it grows to a limit: on independent normal features of width 64 the value is 0.40,
    0.56, 0.62 and 0.62 at B = 4, 16, 64 and 128 (mean of 10 draws), since the pairs and triplets
    of a sample with itself, which are always right, are a share of 1 / B and 3 / B.
    **Resolution:** none after the mean.

    Args:
        distance_weight: Factor of the distance, at least 0; 25 for classification, 1 for
            embeddings.
        angle_weight: Factor of the angle, at least 0; 50 and 2. With 0, its cubic cost is saved.
        delta: Where the Huber loss turns from square to linear, above 0.
        normalize: Whether to bring every vector to length 1 first, as the authors' models of
            embeddings do. Ports differ in it: without it the value is larger by 1.6 on normal
            features of width 64.
        gather: Whether to compare the samples of all processes.

    >>> RKDLoss()
    RKDLoss(distance_weight=25.0, angle_weight=50.0, delta=1.0, normalize=False, gather=True)
    """

    name = "rkd"
    paper = "1904.05068"
    pools = True

    distance_weight: float
    angle_weight: float
    delta: float
    normalize: bool

    def __init__(
        self,
        *,
        distance_weight: float = 25,
        angle_weight: float = 50,
        delta: float = 1.0,
        normalize: bool = False,
        gather: bool = True,
    ) -> None:
        super().__init__(gather=gather)
        weights = {"distance_weight": distance_weight, "angle_weight": angle_weight}
        for name, weight in weights.items():
            setattr(self, name, _check.non_negative(weight, f"RKDLoss.{name}"))
        if not any(weights.values()):
            raise InputError("RKDLoss: expected a weight above 0, found 0 for distance and angle")
        self.delta = _check.positive(delta, "RKDLoss.delta")
        self.normalize = normalize

    def relate(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the weighted sum, without unit."""
        if self.normalize:
            student, teacher = unit(student), unit(teacher)
        parts = ((self.distance_weight, distance), (self.angle_weight, angle))
        values = [w * part(student, teacher, delta=self.delta) for w, part in parts if w]
        return torch.stack(values).sum()


def _relative(rows: Float[Tensor, "B D"]) -> Float[Tensor, "B B"]:
    apart = distances(in_range(rows))
    mean = apart.sum() / max(len(rows) * (len(rows) - 1), 1)
    return apart / mean.masked_fill(mean == 0, 1.0)


def _angles_at(student: Tensor, teacher: Tensor, anchors: slice, delta: float) -> Tensor:
    """Return the summed Huber loss of the cosines at some anchors."""
    cosines = []
    for rows in (student, teacher):
        e = directions(rows - rows[anchors].unsqueeze(1), resolution(rows))
        cosines.append(e @ e.mT)
    return F.huber_loss(cosines[0], cosines[1], delta=delta, reduction="sum")
