"""Lengths and distances of the rows of a batch, with finite gradients where rows are equal or 0."""

import torch
from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.scale import power_of_two


def unit(rows: Float[Tensor, "*B D"], *, eps: float = 0.0) -> Float[Tensor, "*B D"]:
    r"""Return every row at length 1: :math:`x / (\|x\| + \epsilon)`.

    A row of zeros stays one, and no gradient reaches it: it has no direction.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    size = power_of_two(rows.detach().abs().amax(-1, keepdim=True))
    rows = rows / size
    length: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / (length + eps / size).masked_fill(length == 0, torch.inf)


def directions(
    differences: Float[Tensor, "*B D"], resolution: Float[Tensor, ""]
) -> Float[Tensor, "*B D"]:
    """Return differences of rows at length 1: 0 where rounding alone tells the rows apart.

    The direction between two copies of one sample is noise, and its gradient, which grows as one
    over the distance, would drown all others.
    """
    length: Tensor = torch.linalg.vector_norm(differences, dim=-1, keepdim=True)
    return differences / length.masked_fill(length <= resolution, torch.inf)


def distances(rows: Float[Tensor, "B D"]) -> Float[Tensor, "B B"]:
    """Return the Euclidean distance of every pair of rows; equal rows have a gradient of 0.

    >>> distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    tensor([[0., 5.],
            [5., 0.]])
    """
    # By differences: the quicker way, by the Gram matrix, loses the small distances.
    return torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")


def in_range(rows: Float[Tensor, "B *D"]) -> Float[Tensor, "B *D"]:
    """Return a batch divided by one power of two so that its largest value is about 1.

    For losses that do not change with the scale of the batch: its squares and products then
    neither overflow nor vanish.
    """
    return rows / power_of_two(rows.detach().abs().amax())


def resolution(rows: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    """Return the distance below which the rounding of the longest row may tell rows apart."""
    longest: Tensor = torch.linalg.vector_norm(rows.detach(), dim=-1).amax()
    return 4 * torch.finfo(rows.dtype).eps * longest


def same_width(student: Tensor, teacher: Tensor, where: str) -> None:
    """Raise unless rows of student and teacher can be compared with each other."""
    advice = 'project the student with via="paper"'
    _check.same_shape(student, teacher, where=where, hint=advice)
