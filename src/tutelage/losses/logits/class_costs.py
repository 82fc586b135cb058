"""What it costs to take one class for another, from a vector of each class (2412.08139)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import widen

SIMILARITIES = ("cosine", "cka")


@torch.no_grad()
def class_costs(
    vectors: Float[Tensor, "C D"], *, similarity: str = "cosine", sharpness: float = 1.0
) -> Float[Tensor, "C C"]:
    r"""Return the cost between any two classes: 0 for equal ones, below 1 for all.

    .. math:: c_{ij} = 1 - e^{-\kappa (1 - s_{ij})}

    Args:
        vectors: One for each class: rows of a classifier's weight, or mean features.
        similarity: s. ``"cosine"`` of two vectors, from -1 to 1; ``"cka"``, the linear centred
            kernel alignment, which is their squared correlation over the D entries, from 0 to 1.
            A vector of zeros (a constant one for CKA) has the similarity 0 to all others.
        sharpness: :math:`\kappa`, above 0 (paper: 1). The greater, the more alike are the costs of
            all unlike classes.

    Raises:
        ShapeError: The vectors are not ``[C, D]``.
        InputError: An option is outside its range.

    >>> class_costs(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))  # 1 - 1 / e
    tensor([[0.0000, 0.6321],
            [0.6321, 0.0000]])
    """
    _check.one_of(similarity, SIMILARITIES, "class_costs.similarity")
    kappa = _check.positive(sharpness, "class_costs.sharpness")
    if vectors.ndim != 2:
        raise ShapeError(
            f"class_costs: expected one vector for each class, [C, D], found "
            f"{_check.shape(vectors)}; flatten or average each class's features"
        )
    units = widen(vectors)
    if similarity == "cka":
        units = units - units.mean(-1, keepdim=True)
    units = F.normalize(units, dim=-1)
    with torch.autocast(units.device.type, enabled=False):
        alike = (units @ units.mT).clamp(-1, 1)
    if similarity == "cka":
        alike = alike.square()
    return (1 - (-kappa * (1 - alike)).exp()).fill_diagonal_(0.0)
