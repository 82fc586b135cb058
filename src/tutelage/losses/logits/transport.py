"""Entropic optimal transport between distributions over classes (Cuturi, 2013, 1306.0895)."""

import torch
from jaxtyping import Float
from torch import Tensor

# The kernel exp(-cost / epsilon) and its inverse must both be far from the ends of float32.
STEEPEST = 60.0


def transport_cost(
    log_from: Float[Tensor, "*B C"],
    log_to: Float[Tensor, "*B C"],
    cost: Float[Tensor, "C C"],
    *,
    epsilon: float = 0.05,
    iterations: int = 10,
) -> Float[Tensor, "*B"]:
    r"""Measure what moving one distribution over classes onto another costs, in units of ``cost``.

    .. math:: \sum_{ij} \pi_{ij} c_{ij}, \qquad
        \pi = \mathrm{diag}(u)\, K\, \mathrm{diag}(v), \quad K_{ij} = e^{-c_{ij} / \epsilon}

    with :math:`v = b / K^\top u` and :math:`u = a / K v` in turn (Sinkhorn), ``iterations`` times
    from a constant u. The plan's first marginal is then exactly a; the second is b as far as the
    iterations have got. The entropy is not part of the value, but it blurs the plan: equal
    distributions cost a little more than 0. u and v are kept as logarithms, and sums over classes
    are products with K of what is scaled by its largest element, so that nothing underflows where
    ``cost / epsilon`` is at most 60, and nothing of size B * C * C is ever allocated: memory is
    about ``4 * iterations`` tensors ``[B, C]`` with the graph, and time B * C * C an iteration.

    Args:
        log_from: Logarithms of a, each row a distribution; ``-inf`` for a class without mass.
        log_to: Logarithms of b.
        cost: What moving a unit of mass from one class to another costs, at least 0.
        epsilon: The blur, above 0, in the units of ``cost``.
        iterations: How often u and v are renewed.

    All the mass moves from the first class to the second:

    >>> sure = torch.eye(2).log()
    >>> transport_cost(sure[:1], sure[1:], torch.tensor([[0.0, 0.5], [0.5, 0.0]]))
    tensor([0.5000])
    """
    kernel = (-cost / epsilon).exp()
    log_u = torch.zeros_like(log_from).masked_fill(log_from == -torch.inf, -torch.inf)
    for _ in range(iterations):
        log_v = log_to - _log_product(log_u, kernel)
        log_u = log_from - _log_product(log_v, kernel.mT)
    # Each row of the plan sums to a: what is left to average is the cost under v along the row.
    v = (log_v - log_v.detach().amax(-1, keepdim=True)).exp()
    return (log_from.exp() * (v @ (kernel * cost).mT) / (v @ kernel.mT)).sum(-1)


def _log_product(log_w: Float[Tensor, "*B C"], kernel: Float[Tensor, "C D"]) -> Tensor:
    """Return log(w @ kernel); what underflows beside the largest w could not be seen in it."""
    largest = log_w.detach().amax(-1, keepdim=True)
    product: Tensor = largest + ((log_w - largest).exp() @ kernel).log()
    return product
