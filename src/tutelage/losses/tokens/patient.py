"""Patient distillation of classifier tokens (Sun et al., EMNLP 2019, 1908.09355)."""

from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.losses.base import widen
from tutelage.losses.features.base import FeatureLoss
from tutelage.losses.features.unit import unit


def normalised_distance(
    student: Float[Tensor, "B *N D"], teacher: Float[Tensor, "B *N D"], *, token: int = 0
) -> Float[Tensor, "B"]:
    r"""Measure the squared distance of one token's states at unit length: from 0 to 4.

    .. math:: \left\| \frac{h^s}{\|h^s\|_2} - \frac{h^t}{\|h^t\|_2} \right\|_2^2

    Equation 7 of the paper for one layer: twice one minus the cosine. A state of length 0 stays
    where it is.

    Args:
        student: States ``[B, N, D]``, or those of the one token ``[B, D]``.
        teacher: States of the same shape.
        token: Which one, counted from the front, or from the back where negative.

    Raises:
        ShapeError: The shapes differ, or there is no such token.

    >>> import torch
    >>> normalised_distance(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 5.0]]))
    tensor([2.])
    """
    if student.ndim not in (2, 3):
        raise ShapeError(
            f"PatientKDLoss: expected hidden states [B, N, D] or [B, D], found student "
            f"{_check.shape(student)} vs teacher {_check.shape(teacher)}; tap a transformer layer"
        )
    hint = 'add via="auto" to the Term'
    _check.same_shape(student, teacher, where="PatientKDLoss", hint=hint)
    if student.ndim == 3:
        tokens = student.shape[1]
        if not -tokens <= token < tokens:
            raise ShapeError(
                f"PatientKDLoss: expected a token {token}, found states {_check.shape(student)} of "
                f"{tokens} tokens; give a token below that"
            )
        student, teacher = student[:, token], teacher[:, token]
    return (unit(widen(student)) - unit(widen(teacher))).square().sum(-1)


class PatientKDLoss(FeatureLoss):
    """Distance of the classifier token's direction, mean over samples.

    See :func:`normalised_distance`. The paper sums it over layers with a weight of 10 to 1000 in
    all: one Term for each pair of layers, the last one left out.

    Args:
        token: Which token: the first one is the classifier's in BERT.

    >>> import torch
    >>> PatientKDLoss()(torch.ones(2, 3, 4), -torch.ones(2, 3, 4))
    tensor(4.)
    """

    name = "patient"
    paper = "1908.09355"

    token: int

    def __init__(self, *, token: int = 0) -> None:
        super().__init__()
        if not isinstance(token, int) or isinstance(token, bool):
            raise InputError(f"PatientKDLoss.token: expected a whole number, found {token!r}")
        self.token = token

    def values(self, student: Tensor, teacher: Tensor) -> Float[Tensor, "B"]:
        """Return the squared distance of each sample, without unit."""
        return normalised_distance(student, teacher, token=self.token)
