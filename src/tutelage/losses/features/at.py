"""Attention transfer (Zagoruyko and Komodakis, ICLR 2017, 1612.03928)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.losses.base import Loss, widen
from tutelage.losses.reduction import mean_of_kept

VARIANTS = ("author", "paper")


def attention_map(feature: Tensor, *, power: float = 2) -> Float[Tensor, "B P"]:
    r"""Return where a layer is active: one non-negative number per position, of unit length.

    .. math:: Q = a / \|a\|_2, \qquad a_i = \frac{1}{C} \sum_c |F_{ci}|^p

    An inactive sample (all zero) has the map 0.

    Args:
        feature: ``[B, C, H, W]``, where the positions are the H * W pixels, or tokens
            ``[B, N, D]``, where they are the N tokens.
        power: :math:`p` of at least 1; the larger, the more the strongest channels decide.

    >>> import torch
    >>> attention_map(torch.tensor([[[[3.0, 4.0]]]]), power=1)
    tensor([[0.6000, 0.8000]])
    """
    channels = 1 if feature.ndim == 4 else 2
    magnitude = widen(feature)
    tiny = torch.finfo(magnitude.dtype).tiny ** 0.5
    # Q does not change with the scale of the features, but their powers could overflow. Powers of
    # two scale without rounding.
    axes = tuple(range(1, feature.ndim))
    scale = torch.linalg.vector_norm(magnitude.detach(), torch.inf, axes, keepdim=True)
    magnitude = magnitude / scale.clamp_min(tiny).log2().round().exp2()
    if power % 2:
        magnitude = magnitude.abs()
    a = magnitude.pow(power).mean(channels).flatten(1)
    # At maximum 1, the squares of a neither overflow nor vanish.
    # The floor keeps the gradient of an inactive sample finite.
    largest = a.detach().amax(1, keepdim=True).clamp_min(tiny)
    return F.normalize(a / largest, dim=1)


def attention_distance(
    student: Tensor,
    teacher: Tensor,
    *,
    power: float = 2,
    variant: str = "author",
    resize: bool = False,
) -> Float[Tensor, "B"]:
    r"""Measure how differently student and teacher spread their attention, per sample.

    .. math:: \mathrm{author:}\ \frac{1}{P} \| Q^s - Q^t \|_2^2 \qquad
        \mathrm{paper:}\ \| Q^s - Q^t \|_2

    with :func:`attention_map` for Q and P positions. The channel counts may differ; the positions
    may not.

    Args:
        student: ``[B, C, H, W]`` or tokens ``[B, N, D]``; at least two positions, since the map
            of a single one is always 1.
        teacher: The same layout, batch and positions.
        power: :math:`p` of at least 1; the paper's choice is 2.
        variant: ``"author"`` is the released code; ``"paper"`` is equation 2 without its
            :math:`\beta / 2`. With d the distance of the paper's form, the author's is
            :math:`d^2 / P`: it shrinks as the map grows, by two orders of magnitude at 8 x 8.
            Weights (:math:`\beta = 1000`) belong to the author's form.
        resize: Whether to average-pool the larger feature map to the smaller height and width
            before taking its map. Tokens cannot be resized.

    Raises:
        ShapeError: Layout, batch or positions differ, or there is a single position.

    Scaling the features changes nothing, since only the place of the activity counts:

    >>> import torch
    >>> feature = torch.rand(2, 3, 4, 4)
    >>> attention_distance(feature, 2 * feature)
    tensor([0., 0.])
    """
    student, teacher = widen(student), widen(teacher)
    if resize and student.ndim == teacher.ndim == 4:
        student, teacher = _to_smaller(student, teacher)
    _check_positions(student, teacher, resize=resize)
    difference = attention_map(student, power=power) - attention_map(teacher, power=power)
    if variant == "paper":
        # vector_norm has the gradient 0 at equality, where the root of a sum would have NaN.
        distance: Tensor = torch.linalg.vector_norm(difference, dim=1)
        return distance
    return difference.square().mean(1)


class ATLoss(Loss):
    """Distance between attention maps, mean over samples. See :func:`attention_distance`.

    Args:
        power: Exponent of the magnitudes, at least 1.
        variant: ``"author"`` or ``"paper"``.
        resize: Whether to average-pool the larger feature map to the smaller one.

    >>> ATLoss(variant="paper")
    ATLoss(power=2, variant='paper', resize=False)
    """

    name = "at"
    paper = "1612.03928"
    compares = "features"

    power: float
    variant: str
    resize: bool

    def __init__(self, *, power: float = 2, variant: str = "author", resize: bool = False) -> None:
        super().__init__()
        # Below 1 the gradient at an inactive pixel would be infinite.
        if _check.positive(power, "ATLoss.power") < 1:
            raise InputError(f"ATLoss.power: expected a number of at least 1, found {power!r}")
        self.power = power
        self.variant = _check.one_of(variant, VARIANTS, "ATLoss.variant")
        self.resize = resize

    def forward(
        self, student: Tensor, teacher: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        """Return the mean over samples, without unit; the target is not read."""
        teacher = _check.present(teacher, "ATLoss", "the teacher's features", "add a teacher")
        distances = attention_distance(
            student, teacher.detach(), power=self.power, variant=self.variant, resize=self.resize
        )
        return mean_of_kept(distances)

    def extra_repr(self) -> str:
        """Show the hyper-parameters."""
        return f"power={self.power}, variant={self.variant!r}, resize={self.resize}"


def _to_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    height, width = map(min, student.shape[2:], teacher.shape[2:])
    size = (height, width)
    pooled = [
        F.adaptive_avg_pool2d(feature, size) if feature.shape[2:] != size else feature
        for feature in (student, teacher)
    ]
    return pooled[0], pooled[1]


def _check_positions(student: Tensor, teacher: Tensor, *, resize: bool) -> None:
    shapes = f"student {_check.shape(student)} vs teacher {_check.shape(teacher)}"
    if student.ndim != teacher.ndim or student.ndim not in (3, 4):
        raise ShapeError(
            f"ATLoss: expected two feature maps [B, C, H, W] or two token tensors [B, N, D], found "
            f"{shapes}; tap a layer before the pooling, or map tokens to pixels with "
            f"via=tl.TokensToMap(...)"
        )
    if student.shape[0] != teacher.shape[0]:
        raise ShapeError(f"ATLoss: expected one batch size, found {shapes}; use the same batch")
    positions = (1,) if student.ndim == 3 else (2, 3)
    s, t = ([feature.shape[axis] for axis in positions] for feature in (student, teacher))
    if s != t:
        advice = "tokens cannot be resized: choose layers with the same tokens"
        if student.ndim == 4:
            advice = "set resize=True, or tap layers of one height and width"
        raise ShapeError(f"ATLoss: expected maps of the same positions, found {shapes}; {advice}")
    if torch.Size(s).numel() < 2:
        raise ShapeError(
            f"ATLoss: expected at least two positions, found {shapes}: the map of a single one is "
            f"always 1; tap a layer before the pooling"
        )
