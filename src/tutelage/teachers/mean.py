"""What several teachers predict on average: in probabilities, in logits or in their logarithms."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MEANS = ("probability", "logit", "log_probability")


def mean_prediction(
    logits: Sequence[Tensor], weights: Sequence[float], mean: str, *, class_axis: int = -1
) -> Tensor:
    r"""Return the logits of the mean prediction, in float32 at least.

    With :math:`p^m = \mathrm{softmax}(z^m)` and weights that sum to 1:

    - ``"probability"``: :math:`\log \sum_m w_m p^m`. What any teacher holds possible stays so.
    - ``"logit"``: :math:`\sum_m w_m z^m`. What any teacher rules out is ruled out.
    - ``"log_probability"``: the same but for a constant in each row, which no softmax sees:
      :math:`\log \mathrm{softmax}(\sum_m w_m \log p^m)`, so that scales of logits do not count
      in losses that compare logits themselves.

    The mean of probabilities is taken at temperature 1: softened by T it is not the mean of the
    softened predictions.

    Args:
        logits: One tensor for each member, of one shape.
        weights: One number above 0 for each member; only their ratios count.
        mean: ``"probability"``, ``"logit"`` or ``"log_probability"``.
        class_axis: The axis of the classes.

    Two teachers, each sure of a class of its own, leave both as likely:

    >>> sure = [torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 50.0]])]
    >>> mean_prediction(sure, [1.0, 1.0], "probability")
    tensor([[-0.6931, -0.6931]])
    """
    total = math.fsum(weights)
    shares = [weight / total for weight in weights]
    wide = [one.float() if one.dtype in (torch.float16, torch.bfloat16) else one for one in logits]
    if mean == "probability":
        parts = [
            one.log_softmax(class_axis) + math.log(share)
            for one, share in zip(wide, shares, strict=True)
        ]
        return torch.stack(parts).logsumexp(0)
    parts = [share * one for one, share in zip(wide, shares, strict=True)]
    summed = torch.stack(parts).sum(0)
    return summed.log_softmax(class_axis) if mean == "log_probability" else summed
