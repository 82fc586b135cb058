"""Attention transfer (Zagoruyko and Komodakis, ICLR 2017, 1612.03928)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import by_channel, same_positions

VARIANTS = ("author", "paper", "l1")
NORMS = ("l2", "sum")
_INACTIVE = 1e-8  # maps of at most this sum are left as they are by norm="sum"


def attention_map(
    feature: Tensor, *, power: float = 2, norm: str = "l2", signed: bool = False
) -> Float[Tensor, "B P"]:
    r"""Return where a layer is active: one number per position, by default of unit length.

    .. math:: Q = a / \|a\|_2 \ \ \mathrm{or}\ \ a / \textstyle\sum_i a_i, \qquad
        a_i = \frac{1}{C} \sum_c |F_{ci}|^p

    An inactive sample (all zero) has the map 0.

    Args:
        feature: ``[B, C, H, W]``, where the positions are the H * W pixels, or tokens
            ``[B, N, D]``, where they are the N tokens.
        power: :math:`p` of at least 1; the larger, the more the strongest channels decide.
        norm: ``"l2"`` as in the paper, or ``"sum"``: the map is a distribution over positions. A
            map whose sum is at most 1e-8 is then left as it is.
        signed: Whether odd powers keep the sign, as in some ports; the paper takes magnitudes.

    >>> import torch
    >>> attention_map(torch.tensor([[[[3.0, 4.0]]]]), power=1)
    tensor([[0.6000, 0.8000]])
    >>> attention_map(torch.tensor([[[[1.0, 3.0]]]]), power=1, norm="sum")
    tensor([[0.2500, 0.7500]])
    """
    channels = 1 if feature.ndim == 4 else 2
    magnitude = widen(feature)
    tiny = torch.finfo(magnitude.dtype).tiny ** 0.5
    # Q does not change with the scale of the features, but their powers could overflow. Powers of
    # two scale without rounding.
    axes = tuple(range(1, feature.ndim))
    scale = torch.linalg.vector_norm(magnitude.detach(), torch.inf, axes, keepdim=True)
    scale = scale.clamp_min(tiny).log2().round().exp2()
    magnitude = magnitude / scale
    if power % 2 and not signed:
        magnitude = magnitude.abs()
    a = magnitude.pow(power).mean(channels).flatten(1)
    if norm == "sum":
        return _shares(a, scale.flatten(1).pow(power))
    # At maximum 1, the squares of a neither overflow nor vanish.
    # The floor keeps the gradient of an inactive sample finite.
    largest = a.detach().abs().amax(1, keepdim=True).clamp_min(tiny)
    return F.normalize(a / largest, dim=1)


def attention_distance(
    student: Tensor,
    teacher: Tensor,
    *,
    power: float = 2,
    variant: str = "author",
    norm: str = "l2",
    signed: bool = False,
    resize: bool = False,
) -> Float[Tensor, "B"]:
    r"""Measure how differently student and teacher spread their attention, per sample.

    .. math:: \mathrm{author:}\ \frac{1}{P} \| Q^s - Q^t \|_2^2 \qquad
        \mathrm{paper:}\ \| Q^s - Q^t \|_2 \qquad
        \mathrm{l1:}\ \frac{1}{P} \| Q^s - Q^t \|_1

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
            Weights (:math:`\beta = 1000`) belong to the author's form. ``"l1"`` takes absolute
            differences; common code calls it factor transfer, which it is not.
        norm: ``"l2"`` or ``"sum"``, as for the map.
        signed: Whether odd powers keep the sign.
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
    _check_positions(student, teacher)
    s, t = (
        attention_map(feature, power=power, norm=norm, signed=signed)
        for feature in (student, teacher)
    )
    if variant == "paper":
        # vector_norm has the gradient 0 at equality, where the root of a sum would have NaN.
        distance: Tensor = torch.linalg.vector_norm(s - t, dim=1)
        return distance
    return (s - t).abs().mean(1) if variant == "l1" else (s - t).square().mean(1)


class ATLoss(FeatureLoss):
    """Distance between attention maps, mean over samples. See :func:`attention_distance`.

    Args:
        power: Exponent of the magnitudes, at least 1.
        variant: ``"author"``, ``"paper"`` or ``"l1"``.
        norm: ``"l2"`` or ``"sum"``.
        signed: Whether odd powers keep the sign; asks for a whole power.
        resize: Whether to average-pool the larger feature map to the smaller one.

    >>> ATLoss(variant="paper")
    ATLoss(power=2, variant='paper', norm='l2', signed=False, resize=False)
    """

    name = "at"
    paper = "1612.03928"

    power: float
    variant: str
    norm: str
    signed: bool
    resize: bool

    def __init__(
        self,
        *,
        power: float = 2,
        variant: str = "author",
        norm: str = "l2",
        signed: bool = False,
        resize: bool = False,
    ) -> None:
        super().__init__()
        # Below 1 the gradient at an inactive pixel would be infinite.
        _check.at_least_one(power, "ATLoss.power")
        if signed:
            _check.count(power, "ATLoss.power, where signed")
        self.power = power
        self.variant = _check.one_of(variant, VARIANTS, "ATLoss.variant")
        self.norm = _check.one_of(norm, NORMS, "ATLoss.norm")
        self.signed = signed
        self.resize = resize

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, without unit."""
        return attention_distance(
            student,
            teacher,
            power=self.power,
            variant=self.variant,
            norm=self.norm,
            signed=self.signed,
            resize=self.resize,
        )


def _shares(a: Float[Tensor, "B P"], unit: Float[Tensor, "B 1"]) -> Float[Tensor, "B P"]:
    """Divide maps, given in units of their own, by their sums, save those that are inactive."""
    total = a.sum(1, keepdim=True)
    active = total.detach() * unit > _INACTIVE
    return a * unit.masked_fill(active, 1.0) / total.masked_fill(~active, 1.0)


def _to_smaller(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    height, width = map(min, student.shape[2:], teacher.shape[2:])
    size = (height, width)
    pooled = [
        F.adaptive_avg_pool2d(feature, size) if feature.shape[2:] != size else feature
        for feature in (student, teacher)
    ]
    return pooled[0], pooled[1]


def _check_positions(student: Tensor, teacher: Tensor) -> None:
    if student.ndim == teacher.ndim == 2:
        raise ShapeError(
            f"ATLoss: expected two feature maps [B, C, H, W] or two token tensors [B, N, D], found "
            f"student {_check.shape(student)} vs teacher {_check.shape(teacher)}; tap a layer "
            f"before the pooling, or give unsqueeze(-1) of rows of one number per position"
        )
    advice = "tokens cannot be resized: choose layers with the same tokens"
    if student.ndim == 4:
        advice = "set resize=True, or tap layers of one height and width"
    same_positions(student, teacher, "ATLoss", advice)
    if by_channel(student).shape[2] < 2:
        raise ShapeError(
            f"ATLoss: expected at least two positions, found student {_check.shape(student)} vs "
            f"teacher {_check.shape(teacher)}: the map of a single one is always 1; tap a layer "
            f"before the pooling"
        )
