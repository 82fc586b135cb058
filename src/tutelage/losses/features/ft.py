"""Factor transfer: paraphrasing complex networks (Kim, Park and Kwak, NeurIPS 2018, 1802.04977)."""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import InputError
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.layout import same_features
from tutelage.losses.features.paraphraser import Paraphraser
from tutelage.losses.features.unit import unit


def factor_distance(
    student: Float[Tensor, "B *D"], teacher: Float[Tensor, "B *D"]
) -> Float[Tensor, "B"]:
    r"""Measure how far apart two factors point, per sample, without unit.

    .. math:: \frac{1}{|D|} \left\| \frac{f^s}{\|f^s\|_2} - \frac{f^t}{\|f^t\|_2} \right\|_1

    Each sample's factor is flattened and divided by its length (the paper with p = 1). The mean
    over elements is the released code's; the paper's norm, a sum, is larger by :math:`|D|`. The
    value lies between 0 and :math:`2 / \sqrt{|D|}`: it shrinks with the root of channels times
    positions, and is independent of the batch size. A factor of length 0 stays 0.

    Args:
        student: The translator's factor, ``[B, K, H, W]`` or of any other layout.
        teacher: The paraphraser's factor, of the same shape.

    Raises:
        ShapeError: The shapes differ, or there is only one axis.

    >>> import torch
    >>> factor_distance(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]]))
    tensor([0.4000])
    """
    same_features(student, teacher, "FTLoss")
    return (_unit(student) - _unit(teacher)).abs().mean(1)


class FTLoss(FeatureLoss):
    """Distance of the student's factor from the teacher's. See :func:`factor_distance`.

    The student's tensor is its factor already, made by the ``translator`` projector; the teacher's
    is its plain map, of which the paraphraser makes the factor. The paraphraser is held frozen and
    travels in the state dict; the paper weighs the loss by 500.

    The paraphraser comes first. In a recipe it learns in a stage of its own, with ``learn: true``,
    and a later term of the same name takes it over, frozen:

        stages:
          - {name: paraphraser, terms: [{loss: ft, learn: true, at: layer3}]}
        terms: [{loss: ce}, {loss: ft, at: layer3, via: paper, weight: 500}]

    Args:
        paraphraser: A trained :class:`~tutelage.losses.features.paraphraser.Paraphraser`. Without
            one the loss can be built and loaded into, but not computed.
        learn: The value is the error of the paraphraser's reconstruction of the teacher's map,
            which trains it; the student is not read. One is drawn for the first batch's channels.
        rate: Factor channels per channel of the teacher, of one that is drawn.

    Raises:
        InputError: In ``forward``, without a paraphraser.

    >>> import torch
    >>> loss, teacher = FTLoss(paraphraser=Paraphraser(8)), torch.randn(2, 8, 4, 4)
    >>> loss(loss.paraphraser(teacher), teacher).item()
    0.0
    """

    name = "ft"
    paper = "1802.04977"
    projector = "translator"

    paraphraser: Paraphraser | None

    def __init__(
        self, *, paraphraser: Paraphraser | None = None, learn: bool = False, rate: float = 0.5
    ) -> None:
        super().__init__()
        if paraphraser is not None and not isinstance(paraphraser, Paraphraser):
            raise InputError(
                f"FTLoss.paraphraser: expected a Paraphraser, found {type(paraphraser).__name__}"
            )
        self.rate = _check.positive(rate, "FTLoss.rate")
        self.learn = learn
        self.reads_student = not learn
        self._take(paraphraser)

    @property
    def is_sized(self) -> bool:
        """Whether there is a paraphraser, or none is to be drawn."""
        return not self.is_deferred

    @property
    def is_deferred(self) -> bool:
        """Whether it has parameters that the first batch is yet to size."""
        return self.learn and self.paraphraser is None

    def size_for(self, student: Tensor | None, teacher: Tensor) -> None:
        """Draw the paraphraser that is to learn for the teacher's channels; twice is harmless."""
        if self.is_deferred and teacher.ndim == 4:
            self.paraphraser = Paraphraser(teacher.shape[1], rate=self.rate).to(teacher.device)

    def follow(self, earlier: Any) -> None:
        """Take over the paraphraser of an earlier stage, if this loss has none of its own."""
        if self.paraphraser is None:
            self._take(earlier.paraphraser)

    def values(self, student: Tensor | None, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return one value per sample, without unit."""
        if self.paraphraser is None:
            raise InputError(
                "FTLoss: expected a trained paraphraser, found None; let one learn in an earlier "
                "stage of the recipe (learn: true), or minimise "
                "Paraphraser(channels).reconstruction_loss on the teacher's features and give "
                "FTLoss(paraphraser=...)"
            )
        teacher = teacher.to(self.paraphraser.conv1.weight.dtype)
        if student is None:
            error = widen(self.paraphraser.reconstruct(teacher)) - widen(teacher)
            return error.abs().flatten(1).mean(1)
        with torch.no_grad():
            factor = self.paraphraser(teacher)
        return factor_distance(student, factor)

    def _take(self, paraphraser: Paraphraser | None) -> None:
        # A copy: freezing the caller's would stop its training without a word.
        own = copy.deepcopy(paraphraser)
        self.paraphraser = None if own is None else own.requires_grad_(self.learn)


def _unit(factor: Float[Tensor, "B *D"]) -> Float[Tensor, "B D"]:
    return unit(widen(factor).flatten(1))
