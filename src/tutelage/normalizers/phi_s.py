"""PHI-S: features of one variance, isotropic, invertible (Ranzinger et al., 2024, 2410.01680)."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from tutelage.errors import InputError
from tutelage.normalizers.base import Normalizer
from tutelage.normalizers.statistics import by_feature, load_unsized, over_processes


class PHISNormalizer(Normalizer):
    r"""Rotate the features so that all have one variance, and scale that variance to 1.

    .. math:: \hat t = \phi^{-1} H U^\top (t - \mu), \qquad
        \Sigma = U \Lambda U^\top, \quad \phi^2 = \frac{1}{D} \sum_d \lambda_d

    with an orthonormal H that gives every feature the same share of each eigenvalue's variance.
    Errors in all directions keep their proportions, unlike after whitening, and several teachers
    meet on one scale. H is the Hadamard matrix where D is a power of two; for other widths the
    paper's construction is replaced by plane rotations that make the variances equal exactly.

    Mean and covariance are gathered over the first training batches (all samples, tokens, pixels
    and processes) and the rotation is computed anew after 1, 2, 4, 8 ... of them; then it rests.
    Before any training batch, a batch's own statistics are used. Memory: 2 D^2 float64 numbers.

    Args:
        batches: Training batches until the rotation rests, at least 1. The target moves while it
            is gathered; :meth:`fit` on some features beforehand avoids that.

    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> normalise = PHISNormalizer()
    >>> normalise.fit(torch.randn(1000, 6) * torch.arange(1.0, 7.0))
    """

    name: ClassVar[str] = "phi_s"

    mean: Tensor | None
    moment: Tensor | None
    count: Tensor
    seen: Tensor
    rotation: Tensor | None
    centre: Tensor | None

    def __init__(self, *, batches: int = 64) -> None:
        super().__init__()
        if batches < 1:
            raise InputError(
                f"PHISNormalizer.batches: expected a whole number of at least 1, found {batches!r}"
            )
        self.batches = batches
        for name in ("mean", "moment", "rotation", "centre"):
            self.register_buffer(name, None)
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_load_state_dict_pre_hook(load_unsized)  # type: ignore[no-untyped-call]
        self._seen = 0  # the same on the host, so that no step waits for a device
        self.register_load_state_dict_post_hook(_recount)  # type: ignore[no-untyped-call]

    def forward(self, teacher: Tensor) -> Tensor:
        """Return ``teacher`` rotated and scaled."""
        if self.training and self._seen < self.batches:
            if torch.compiler.is_compiling():
                raise InputError(
                    f"PHISNormalizer: gathers statistics in its first {self.batches} training "
                    "batches, which a compiled step cannot; call fit(features) beforehand"
                )
            self._gather(by_feature(teacher))
        rotation, centre = self.rotation, self.centre
        if rotation is None or centre is None:
            rows = by_feature(teacher)
            centre = rows.mean(0)
            rotation = rotation_of((rows - centre).T @ (rows - centre) / len(rows))
        features = teacher.movedim(1, -1) if teacher.ndim == 4 else teacher
        turned = (features - centre.to(features)) @ rotation.to(features).T
        return turned.movedim(-1, 1) if teacher.ndim == 4 else turned

    @torch.no_grad()
    def fit(self, teacher: Tensor) -> None:
        """Take the statistics of these features alone, for good.

        Args:
            teacher: Features of many samples: ``[B, D]``, ``[B, N, D]`` or ``[B, C, H, W]``.
        """
        self.mean = self.moment = None
        self.count.zero_()
        self._gather(by_feature(teacher), alone=True)
        self._turn()
        self._seen = self.batches
        self.seen.fill_(self._seen)

    def extra_repr(self) -> str:
        """Show the settings."""
        return f"batches={self.batches}"

    def _gather(self, rows: Tensor, *, alone: bool = False) -> None:
        if self.mean is None or self.moment is None:
            self.mean = rows.new_zeros(rows.shape[1])
            self.moment = rows.new_zeros(rows.shape[1], rows.shape[1])
        sums = (rows.sum(0), rows.T @ rows, rows.new_tensor(float(len(rows))))
        total, moment, count = sums if alone else over_processes(*sums)
        self.mean, self.moment = self.mean + total, self.moment + moment
        self.count += count
        self._seen += 1
        self.seen.fill_(self._seen)
        if self._seen == self.batches or (self._seen & (self._seen - 1)) == 0:
            self._turn()

    def _turn(self) -> None:
        assert self.mean is not None
        assert self.moment is not None
        self.centre = self.mean / self.count
        self.rotation = rotation_of(
            self.moment / self.count - torch.outer(self.centre, self.centre)
        )


def rotation_of(covariance: Tensor) -> Tensor:
    r"""Return :math:`\phi^{-1} H U^\top` for a covariance ``[D, D]``.

    What it does to features of that covariance: each gets variance 1. Features that do not vary
    at all are only rotated.

    >>> import torch
    >>> rotation = rotation_of(torch.diag(torch.tensor([1.0, 4.0, 7.0], dtype=torch.float64)))
    >>> (rotation @ torch.diag(torch.tensor([1.0, 4.0, 7.0]).double()) @ rotation.T).diag()
    tensor([1.0000, 1.0000, 1.0000], dtype=torch.float64)
    """
    values, vectors = torch.linalg.eigh(covariance.double())
    values = values.clamp(min=0)
    # The sign of an eigenvector is rounding's to choose: without one rule for it the target would
    # flip from one estimate to the next, and differ with the number of processes.
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = torch.where(largest < 0, -vectors, vectors)
    mean = values.mean()
    scale = mean.rsqrt() if mean > 0 else torch.ones_like(mean)
    rotation: Tensor = scale * (_equalizer(values) @ vectors.T)
    return rotation


def _equalizer(values: Tensor) -> Tensor:
    """Return the orthonormal H that gives diag(H diag(values) H^T) equal entries."""
    width = len(values)
    if width & (width - 1) == 0:
        return _hadamard(width).to(values)
    return _by_rotations(values)


def _hadamard(width: int) -> Tensor:
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < width:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(width)


def _by_rotations(values: Tensor) -> Tensor:
    """Turn two features at a time, one below the mean and one above, until all lie on it.

    Each turn settles one feature for good, so D - 1 turns are enough (Schur and Horn's theorem).
    """
    mean, width = float(values.mean()), len(values)
    turned = torch.diag(values.double().cpu())
    total = torch.eye(width, dtype=torch.float64)
    open_ = list(range(width))
    while len(open_) > 1:
        diagonal = turned.diagonal()
        low = min(open_, key=lambda i: float(diagonal[i]))
        high = max(open_, key=lambda i: float(diagonal[i]))
        if float(diagonal[high]) - float(diagonal[low]) <= 1e-14 * max(mean, 1e-300):
            break
        turn = _turn_of(float(diagonal[low]), float(turned[low, high]), float(diagonal[high]), mean)
        pair = [low, high]
        turned[pair] = turn @ turned[pair]
        turned[:, pair] = turned[:, pair] @ turn.T
        total[pair] = turn @ total[pair]
        open_.remove(low)
    return total.to(values)


def _turn_of(low: float, cross: float, high: float, mean: float) -> Tensor:
    """Return the rotation after which the first of two features has the variance ``mean``.

    With the tangent x it is :math:`(a - m) + 2 b x + (c - m) x^2 = 0`; a <= m <= c has a root.
    """
    a, c = low - mean, high - mean
    if c <= 0:
        return torch.eye(2, dtype=torch.float64)
    x = (-cross + math.copysign(math.sqrt(max(cross * cross - a * c, 0.0)), -cross or 1.0)) / c
    other = a / (c * x) if x else 0.0
    # The smaller turn keeps the rounding small; of two alike, rounding may not choose the sign.
    is_tie = math.isclose(abs(x), abs(other), rel_tol=1e-6)
    x = max(x, other) if is_tie else min(x, other, key=abs)
    cosine = 1 / math.sqrt(1 + x * x)
    return torch.tensor([[cosine, cosine * x], [-cosine * x, cosine]], dtype=torch.float64)


def _recount(module: torch.nn.Module, incompatible_keys: object) -> None:
    """Know again how many batches were seen: a hook on loading."""
    assert isinstance(module, PHISNormalizer)
    module._seen = int(module.seen)
